"""The base of Foveal: sizes and grids, attention with several kernels, packing, key maps, weights, descriptions."""

from importlib.metadata import version

from foveal.core.annotations import check_values, fits, hints_of
from foveal.core.attention import attention, runs_packed
from foveal.core.derived import Derived
from foveal.core.describe import build, describe
from foveal.core.folders import whole_file, whole_folder
from foveal.core.geometry import Box, Grid, Size
from foveal.core.kernels import Backend
from foveal.core.key_map import KeyMap
from foveal.core.packing import Lengths, group_by, pack, unpack
from foveal.core.precision import in_float32, without_autocast
from foveal.core.stacks import Sampling, mosaic, stacks_of
from foveal.core.tables import tables_of
from foveal.core.tensors import (
    Rename,
    StoredTensors,
    check_fit,
    check_named,
    files_of,
    load_exact,
    read_tensors,
    shards_of,
)
from foveal.core.typed_call import typed_as

__all__ = [
    "Backend",
    "Box",
    "Derived",
    "Grid",
    "KeyMap",
    "Lengths",
    "Rename",
    "Sampling",
    "Size",
    "StoredTensors",
    "attention",
    "build",
    "check_fit",
    "check_named",
    "check_values",
    "describe",
    "files_of",
    "fits",
    "group_by",
    "hints_of",
    "in_float32",
    "load_exact",
    "mosaic",
    "pack",
    "read_tensors",
    "runs_packed",
    "shards_of",
    "stacks_of",
    "tables_of",
    "typed_as",
    "unpack",
    "whole_file",
    "whole_folder",
    "without_autocast",
]
__version__ = version("foveal-core")
"""Of the installed package."""
