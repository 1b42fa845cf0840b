"""Connectors turn image features into language-model tokens."""

from foveal.connectors.connector import Connector, Grid, grouped
from foveal.connectors.mlp import MlpProjector
from foveal.connectors.pool import AdaptivePool
from foveal.connectors.resampler import PerceiverResampler, SpatialResampler

__all__ = ["AdaptivePool", "Connector", "Grid", "MlpProjector", "PerceiverResampler", "SpatialResampler", "grouped"]
