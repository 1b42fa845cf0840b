"""Weights that bitsandbytes has quantised, as they are in a folder: which they are, and what they stand for.

transformers quantises every linear layer that it is not told to skip, so that a folder may have a quantised image
tower, projector or output layer too. Layers of the decoder are held as they are; what is quantised elsewhere is
dequantised while it is read, to the numbers that bitsandbytes computes with.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import Derived, Rename, StoredTensors, fits
from foveal.models.language_models.quantize import (
    BLOCK,
    StoredKind,
    described_kind,
    empty_layer,
    import_bitsandbytes,
)

MARK = "weight.quant_state.bitsandbytes__"
NESTED = ("weight.nested_absmax", "weight.nested_quant_map")
PIECE = re.compile(rf"(.+)\.(weight\.(?:absmax|quant_map|nested_absmax|nested_quant_map)|{re.escape(MARK)}\w+|SCB)")
FORMAT = "weight_format"
"""Beside an int8 weight: how its rows are stored; 0 is plain, others depend on the GPU that wrote them."""


def four_bits(kind: StoredKind) -> tuple[str, ...]:
    """The names of the tensors of a layer's weight in 4 bits."""
    plain, _, double = kind.partition("-")
    return ("weight", "weight.absmax", "weight.quant_map", MARK + plain, *(NESTED if double else ()))


PIECES: dict[StoredKind | None, tuple[str, ...]] = {
    None: ("weight",),
    "nf4": four_bits("nf4"),
    "nf4-dq": four_bits("nf4-dq"),
    "fp4": four_bits("fp4"),
    "fp4-dq": four_bits("fp4-dq"),
    "int8": ("weight", "SCB"),
}
"""Names of a layer's weight tensors in a folder, by type of quantisation."""


@dataclass(frozen=True)
class Quantized:
    """The quantised layers of a folder.

    Attributes:
        kind: how they are quantised; None: there are none.
        layers: names of the layers, such as `model.layers.0.mlp.up_proj`.
    """

    kind: StoredKind | None
    layers: frozenset[str]


def check_quantization(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse weights that are quantised by another method than bitsandbytes, or with settings that are not known.

    Args:
        config: content of `config.json`.
        source: the folder or the file, named in errors.

    Raises:
        ValueError: naming the method and what to do, or the setting.
    """
    for place in (config, config.get("text_config")):
        described = place.get("quantization_config") if isinstance(place, Mapping) else None
        if described is None:
            continue
        settings = described if isinstance(described, Mapping) else {"quant_method": described}
        # The first folders of bitsandbytes do not name it.
        unnamed = "bitsandbytes" if {"load_in_4bit", "load_in_8bit"} & set(settings) else None
        if (method := settings.get("quant_method", unnamed)) != "bitsandbytes":
            raise ValueError(
                f"{source}: the weights are quantised by {method!r} (quantization_config), only bitsandbytes can be "
                "read: take the folder that they were made from, and quantise it while loading (quantize='nf4-dq')"
            )
        described_kind(settings, source=source)


def quantized_in(names: Iterable[str], *, source: str) -> Quantized:
    """Find the quantised layers by the names of a folder's tensors.

    Raises:
        ValueError: if they are quantised in several ways, or in one that is not known.
    """
    found = [match.groups() for name in names if (match := PIECE.fullmatch(name))]
    if not found:
        return Quantized(None, frozenset())
    pieces = {piece for _, piece in found}
    types = {piece.removeprefix(MARK) for piece in pieces if piece.startswith(MARK)}
    types |= {"int8"} if "SCB" in pieces else set()
    double = "-dq" if "weight.nested_absmax" in pieces else ""
    kinds = [kind for kind in PIECES if kind in {f"{each}{double}" for each in types}]
    if len(types) != 1 or not kinds:
        raise ValueError(
            f"{source}: weights are quantised as {', '.join(sorted(types)) or 'nothing that is named'}, only one of "
            "nf4, fp4 and int8 can be read"
        )
    return Quantized(kinds[0], frozenset(layer for layer, _ in found))


def dequantized(stored: StoredTensors, quantized: Quantized, layers: Collection[str]) -> StoredTensors:
    """The same weights, where those of `layers` are dequantised while they are read.

    Args:
        stored: tensors of the folder.
        quantized: what is quantised in it.
        layers: names of quantised layers.

    Raises:
        ValueError: if a tensor of a layer is missing or damaged, or quantised with other settings than are known.
        ImportError: if bitsandbytes is not installed.
    """
    if not layers or quantized.kind is None:
        return stored
    import_bitsandbytes()
    kind = quantized.kind
    parts = {layer: [f"{layer}.{piece}" for piece in PIECES[kind]] for layer in layers}
    if missing := sorted({part for each in parts.values() for part in each} - stored.described.keys()):
        raise ValueError(f"{stored.source}: {len(missing)} missing tensors, among them {missing[:5]}")
    formats = {f"{layer}.{FORMAT}" for layer in layers} & stored.described.keys()
    check_formats(stored, formats)
    plain = [name for name in stored.described if not PIECE.fullmatch(name)]
    marks = {part: layer for layer, each in parts.items() for part in each if MARK in part}
    described = {marks[name]: _described(tensor, name, stored.source) for name, tensor in stored.stream(marks)}
    made = {}
    for layer, names in parts.items():
        shape, dtype = described.get(layer) or (stored.shapes[names[0]], stored.dtype(plain))
        like = torch.empty(shape, dtype=dtype, device="meta")
        extra = formats & {f"{layer}.{FORMAT}"}
        made[names[0]] = Derived(like, (*names, *extra), partial(_weight, kind, layer, like))
    return stored.derived(made)


def pieces_renamed(rename: Rename, layers: Collection[str], *, source: str) -> Rename:
    """Extend `rename`, which knows the weights of quantised layers, to their pieces.

    Args:
        rename: maps stored weights to a model's own.
        layers: stored names of the quantised layers that are held as they are.
        source: named in errors.

    Raises:
        ValueError: while renaming, if a quantised weight would become several.
    """

    def renamed(tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            layer, piece = _split(name)
            if layer not in layers:
                found |= rename({name: tensor})
                continue
            for inside in own_layers(rename, layer, source=source):
                found[f"{inside}.{piece}"] = tensor
        return found

    return renamed


def own_layers(rename: Rename, layer: str, *, source: str) -> list[str]:
    """The model's name of a stored layer; none if the model does not have it.

    Raises:
        ValueError: if the layer becomes several in the model, which a quantised one cannot.
    """
    inside = list(rename({f"{layer}.weight": torch.empty(3, 1, device="meta")}))
    if len(inside) > 1 or not all(name.endswith(".weight") for name in inside):
        raise ValueError(f"{source}: {layer} is quantised, and would have to be divided: take the original folder")
    return [name.removesuffix(".weight") for name in inside]


def check_formats(stored: StoredTensors, names: Collection[str]) -> None:
    """Refuse int8 weights whose rows are not stored plainly.

    Args:
        stored: tensors of the folder.
        names: those that say how rows are stored.

    Raises:
        ValueError: naming one.
    """
    for name, tensor in stored.stream(names):
        if int(tensor.sum()) != 0:
            raise ValueError(f"{stored.source}: {name} is {int(tensor.sum())}, only rows (0) can be read")


def _split(name: str) -> tuple[str, str]:
    """The layer and the piece of a stored name."""
    match = PIECE.fullmatch(name)
    if match is not None:
        return match[1], match[2]
    layer, _, leaf = name.rpartition(".")
    return (layer, leaf) if leaf == "weight" else (name, "")


def _described(mark: Tensor, name: str, source: str) -> tuple[tuple[int, ...], torch.dtype]:
    """The shape and the dtype that a weight in 4 bits had before."""
    try:
        state: dict[str, Any] = json.loads(bytes(mark.tolist()))
        shape, dtype, block = tuple(state["shape"]), getattr(torch, state["dtype"]), state["blocksize"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: {name} is damaged ({type(error).__name__}: {error})") from error
    if block != BLOCK or not fits(shape, tuple[int, int]) or not isinstance(dtype, torch.dtype):
        raise ValueError(
            f"{source}: {name} describes blocks of {block}, a shape {shape} and the dtype {state['dtype']}; known are "
            f"{BLOCK}, two sides and torch's"
        )
    return shape, dtype


def _weight(kind: StoredKind, layer: str, like: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
    """The weight that bitsandbytes computes with."""
    out, width = like.shape
    whole = empty_layer(nn.Linear(width, out, bias=False, device="meta"), kind)
    try:
        whole.restore_({name.removeprefix(f"{layer}."): tensor for name, tensor in tensors.items()})
    except ValueError as error:
        raise ValueError(f"{layer}: {error}") from error
    return whole.dequantized(like.dtype)
