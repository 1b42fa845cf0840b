"""Load a language model with a quantised decoder from a folder, without ever holding the unquantised one."""

import ctypes
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from foveal.core import Rename, StoredTensors
from foveal.models.language_models.causal import causal_class
from foveal.models.language_models.quantize import (
    StoredKind,
    check_kind,
    decoder_linears,
    empty_layer,
    record,
    recorded_kind,
    replace,
)
from foveal.models.language_models.stored_quantization import (
    FORMAT,
    PIECES,
    Quantized,
    check_formats,
    dequantized,
    own_layers,
    pieces_renamed,
    quantized_in,
)

logger = logging.getLogger(__name__)

IGNORED = r"\.rotary_emb\.inv_freq|\.weight_format"
"""Suffixes of names that are not weights: computed tables, and a mark that int8 is stored by rows."""
SHOWN = 5


def load_quantized(
    stored: StoredTensors,
    config: Any,
    *,
    kind: StoredKind | None = None,
    dtype: torch.dtype | None = None,
    rename: Rename = dict,
) -> nn.Module:
    """Load the causal language model from the tensors of a folder, in evaluation mode.

    At most one of its tensors is in memory in addition to the model itself. A folder that was saved quantised is read
    as it is, bit by bit; otherwise the decoder's linear layers are quantised while they are read.

    Args:
        stored: tensors of the folder.
        config: transformers' configuration of the model.
        kind: type of quantisation; None: the folder's.
        dtype: dtype of all weights that are not quantised, and of the others before quantisation; None: the
            configuration's.
        rename: maps the folder's names to the model's; names mapped to nothing are skipped.

    Raises:
        ValueError: if the folder is quantised in another way; if a tensor is missing, unexpected or of another shape,
            which is checked before any weight is read; if two tied tensors differ; or as for `quantize`.
        ImportError: if bitsandbytes is not installed.
    """
    from transformers import GenerationConfig

    recorded, quantized = recorded_kind(config), quantized_in(stored.described, source=stored.source)
    before = quantized.kind
    if recorded is not None and recorded != before:
        raise ValueError(
            f"{stored.source}: by its config.json it is quantised as {recorded}, its tensors are {before or 'not'}"
        )
    asked = kind or before
    if asked is None or before not in (None, asked):
        raise ValueError(f"{stored.source} is quantised already, as {before}: it cannot be quantised again, as {kind}")
    if before is None:
        check_kind(asked)
    dtype = (
        dtype or config.dtype or stored.dtype([name for name, each in stored.described.items() if rename({name: each})])
    )
    config.quantization_config = None
    with parameters_without_memory():
        model: Any = causal_class(config).from_config(config, dtype=dtype, trust_remote_code=False)
    names = decoder_linears(model)
    if before is not None:
        stored, rename, names = _held(stored, quantized, rename, names)
    described: dict[str, Tensor] = {}
    wanted = set()
    for published, tensor in stored.described.items():
        if renamed := rename({published: tensor}):
            wanted.add(published)
            described |= renamed
    places = {f"{layer}.{piece}": (layer, piece) for layer in names for piece in PIECES[before]}
    expected = _expected(model)
    _check(described, expected, places, model, before=before, source=stored.source)
    check_formats(stored, {name for name in wanted if name.endswith(f".{FORMAT}")})
    for name in names:
        replace(model, name, empty_layer(model.get_submodule(name), asked))
    shared = {name for name, _ in model.named_parameters(remove_duplicate=False)} - expected.keys()
    read: dict[str, dict[str, Tensor]] = {}
    twins: dict[str, Tensor] = {}
    for name, tensor in _renamed(stored, wanted, rename):
        layer, piece = places.get(name, ("", ""))
        if not layer:
            if name in expected:
                _fill(model, name, tensor)
            elif name in shared:
                twins[name] = tensor.to(dtype, copy=True)
        elif before is None:
            model.get_submodule(layer).quantize_(tensor.to(dtype))
            _give_back_memory()
        else:
            pieces = read.setdefault(layer, {})
            pieces[piece] = tensor.clone()
            if len(pieces) == len(PIECES[before]):
                model.get_submodule(layer).restore_(read.pop(layer))
    model.tie_weights()
    for name, twin in twins.items():
        if not torch.equal(model.get_parameter(name), twin):
            raise ValueError(
                f"{stored.source}: {name} is tied to another tensor in {type(model).__name__}, but differs"
            )
    record(model, asked)
    if (Path(stored.source) / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(stored.source)
    result: nn.Module = model.eval()
    return result


def _held(
    stored: StoredTensors, quantized: Quantized, rename: Rename, names: list[str]
) -> tuple[StoredTensors, Rename, list[str]]:
    """What is needed to hold the decoder's quantised layers as they are, and to dequantise what is quantised elsewhere.

    Args:
        stored: tensors of the folder.
        quantized: what is quantised in it.
        rename: knows the weights of the folder.
        names: the linear layers of the decoder, in the model.

    Returns:
        The tensors; a `rename` that knows the pieces of quantised weights; the names of the quantised layers.

    Raises:
        ValueError: if no layer of the decoder is quantised, or as for `own_layers`.
    """
    own = {layer: own_layers(rename, layer, source=stored.source) for layer in quantized.layers}
    held = {layer: inside[0] for layer, inside in own.items() if inside and inside[0] in names}
    if not held:
        raise ValueError(f"{stored.source} is quantised as {quantized.kind}, but no layer of the decoder is")
    elsewhere = sorted(layer for layer, inside in own.items() if inside and layer not in held)
    if elsewhere:
        logger.info("%s: dequantised, because they are outside of the decoder: %s", stored.source, ", ".join(elsewhere))
    stored = dequantized(stored, quantized, elsewhere)
    kept = set(held.values())
    return stored, pieces_renamed(rename, held, source=stored.source), [name for name in names if name in kept]


def _renamed(stored: StoredTensors, wanted: set[str], rename: Rename) -> Iterator[tuple[str, Tensor]]:
    """The renamed tensors of `wanted`, one after the other."""
    for published, tensor in stored.stream(wanted):
        yield from rename({published: tensor}).items()


@contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Context in which new parameters are on the meta device. Buffers are not: some are computed and in no file."""

    def forget(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> Any:
        # An existing parameter may be shared and stays the same object.
        if parameter is None or parameter.is_meta:
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(forget)
    try:
        yield
    finally:
        handle.remove()


def _expected(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that a folder must have for an unquantised model; shared tensors only under their first name."""
    others = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {name: tensor for name, tensor in model.state_dict().items() if name not in others}
    return {**dict(model.named_parameters()), **buffers}


def _check(
    described: dict[str, Tensor],
    expected: dict[str, Tensor],
    places: dict[str, tuple[str, str]],
    model: nn.Module,
    *,
    before: StoredKind | None,
    source: str,
) -> None:
    """Check the names and shapes of all of the folder's tensors against the model.

    Raises:
        ValueError: if they do not agree.
    """
    shapes: dict[str, tuple[int, ...] | None] = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    for name, (_, piece) in places.items():
        if piece != "weight":
            shapes[name] = None
        elif before not in (None, "int8"):
            shapes[name] = ((expected[name].numel() + 1) // 2, 1)
    shared = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    ignored = re.compile(
        "|".join([f"({IGNORED})$", *(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())])
    )
    faults = {
        "missing": shapes.keys() - described.keys(),
        "unexpected": {name for name in described.keys() - shapes.keys() - shared if not ignored.search(name)},
        "mismatched": {
            name
            for name in shapes.keys() & described.keys()
            if shapes[name] not in (None, tuple(described[name].shape))
        },
    }
    for fault, names in faults.items():
        if names:
            raise ValueError(f"{source}: {len(names)} {fault} tensors, among them {sorted(names)[:SHOWN]}")


def _give_back_memory() -> None:
    """Return freed heap to the OS: glibc keeps it, and it adds up to half a model."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _fill(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Allocate a parameter and set its value, in its dtype; a buffer is already allocated."""
    parent, _, leaf = name.rpartition(".")
    module = model.get_submodule(parent)
    old = getattr(module, leaf)
    if isinstance(old, nn.Parameter):
        setattr(module, leaf, nn.Parameter(tensor.to(old.dtype, copy=True), requires_grad=old.requires_grad))
    else:
        old.copy_(tensor)
