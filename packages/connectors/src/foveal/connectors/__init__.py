"""Connectors turn image features into language-model tokens."""

from importlib.metadata import version

from foveal.connectors.c_abstractor import CAbstractor
from foveal.connectors.combine import Chain, Parallel
from foveal.connectors.connector import Connector, Widths, grouped
from foveal.connectors.d_abstractor import DAbstractor
from foveal.connectors.flamingo import FlamingoPerceiver
from foveal.connectors.fusers import Average, ConcatChannels, ConcatTokens, DenseConnector
from foveal.connectors.hiwin import HiwinAttention
from foveal.connectors.honeybee_resampler import HoneybeeResampler
from foveal.connectors.idefics2 import Idefics2Perceiver
from foveal.connectors.identity import Identity
from foveal.connectors.mlp import MlpProjector
from foveal.connectors.mmfuser import MMFuser
from foveal.connectors.norm import Norm
from foveal.connectors.patch_merger import PatchMerger
from foveal.connectors.pool import AdaptivePool, LdpV2, Pool
from foveal.connectors.qformer import QFormer
from foveal.connectors.resampler import PerceiverResampler, SpatialResampler
from foveal.connectors.shuffle import ConvPool, PixelShuffle
from foveal.connectors.space_time_pool import SpaceTimePool
from foveal.connectors.split_mlp import SplitMlp
from foveal.connectors.strided_pool import StridedPool
from foveal.connectors.token_packer import TokenPacker
from foveal.core import Grid

__all__ = [
    "AdaptivePool",
    "Average",
    "CAbstractor",
    "Chain",
    "ConcatChannels",
    "ConcatTokens",
    "Connector",
    "ConvPool",
    "DAbstractor",
    "DenseConnector",
    "FlamingoPerceiver",
    "Grid",
    "HiwinAttention",
    "HoneybeeResampler",
    "Idefics2Perceiver",
    "Identity",
    "LdpV2",
    "MMFuser",
    "MlpProjector",
    "Norm",
    "Parallel",
    "PatchMerger",
    "PerceiverResampler",
    "PixelShuffle",
    "Pool",
    "QFormer",
    "SpaceTimePool",
    "SpatialResampler",
    "SplitMlp",
    "StridedPool",
    "TokenPacker",
    "Widths",
    "grouped",
]
__version__ = version("foveal-connectors")
"""Of the installed package."""
