"""Published projectors: find the connector that their names and shapes belong to, and read its weights."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.connectors import (
    Chain,
    ConcatChannels,
    Connector,
    Identity,
    MlpProjector,
    MMFuser,
    Norm,
    PerceiverResampler,
    SpatialResampler,
)
from foveal.connectors.mlp import LLAVA, LLAVA_LINEAR, TRANSFORMERS
from foveal.connectors.mmfuser import MMFUSER
from foveal.connectors.resampler import UHD
from foveal.core import StoredTensors, load_exact
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.tokenize import separator_id
from foveal.models.views.marked import MarkedPlan

Shapes = Mapping[str, tuple[int, ...]]
RESAMPLERS: dict[str, type[PerceiverResampler]] = {
    "resampler": PerceiverResampler,
    "adapt_spatial_resampler": SpatialResampler,
    "adapt_spatial_resampler_v1": SpatialResampler,
    "uhd_v1_query64": SpatialResampler,
}
"""`mm_projector_type` -> connector: both types have the same tensors."""
RESAMPLER_HEAD_WIDTH = 128
FUSER_POINTS = 4
"""The only number in MMFuser's reference; with it, the shapes determine the number of heads."""
VIP_NORM, VIP_MLP, VIP_STAGE = "clip_layernorm.", "final_linear.", "stages.1.norm."
"""ViP-LLaVA's names in its own code (llava/model/multimodal_projector/builder.py), and the norm's in the chain."""
EMBEDDINGS = "embed_tokens.weight"
BEFORE = re.compile(r".*?(mm_projector|multi_modal_projector)\.")


def projector_of(
    shapes: Shapes, in_width: Any, out_width: int, *, prefix_tokens: int = 0, kind: str | None = None, source: str
) -> Connector:
    """The connector of a published projector, with new weights.

    Args:
        shapes: shapes of the projector's tensors, without prefix.
        in_width: width of the encoder, a tuple for several maps.
        out_width: width of the language model.
        prefix_tokens: see `Connector`.
        kind: its name in the configuration (`mm_projector_type`); only resamplers and `identity` need it.
        source: named in errors.

    Raises:
        ValueError: if the projector is unknown, or its sizes contradict the encoder's.
    """
    if kind == "identity":
        return Identity(in_width, out_width, prefix_tokens=prefix_tokens)
    if "0.gamma1" in shapes:
        fuser = _fuser(shapes, in_width, source)
        return Chain(in_width, out_width, stages=[fuser], last=_mlp(_after_fuser(shapes), fuser.out_width, out_width))
    if VIP_NORM + "weight" in shapes:
        last = {name.removeprefix(VIP_MLP): shape for name, shape in shapes.items() if name.startswith(VIP_MLP)}
        width = sum(in_width) if isinstance(in_width, tuple) else in_width
        return Chain(in_width, out_width, stages=[ConcatChannels, Norm], last=_mlp(last, width, out_width))
    if "query" in shapes and "attn.in_proj_weight" in shapes:
        if kind not in RESAMPLERS:
            raise ValueError(f"{source}: mm_projector_type is {kind!r}, expected one of {', '.join(RESAMPLERS)}")
        if out_width % RESAMPLER_HEAD_WIDTH:
            raise ValueError(f"{source}: heads of {RESAMPLER_HEAD_WIDTH} channels do not divide {out_width}")
        heads = out_width // RESAMPLER_HEAD_WIDTH
        return RESAMPLERS[kind](in_width, out_width, queries=shapes["query"][0], heads=heads)
    if {"weight", "linear_1.weight", "0.weight"} & set(shapes):
        return _mlp(shapes, in_width, out_width, prefix_tokens)
    raise ValueError(f"{source}: no known projector among {sorted(shapes)[:5]} (mm_projector_type {kind!r})")


def read_projector(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Rename a published projector's tensors (without prefix) to the names of `projector_of`'s connector.

    Raises:
        ValueError: for unknown names.
    """
    if "0.gamma1" in tensors:
        fuser = {name[2:]: tensor for name, tensor in tensors.items() if name.startswith("0.")}
        read = {f"stages.0.{name}": tensor for name, tensor in MMFUSER.read(fuser, source=source).items()}
        last = LLAVA.read(_after_fuser(tensors), source=source)
        return read | {f"last.{name}": tensor for name, tensor in last.items()}
    if VIP_NORM + "weight" in tensors:
        normed = {name: tensor for name, tensor in tensors.items() if name.startswith(VIP_NORM)}
        rest = {name.removeprefix(VIP_MLP): tensor for name, tensor in tensors.items() if name not in normed}
        read = {f"last.{name}": tensor for name, tensor in LLAVA.read(rest, source=source).items()}
        return read | {VIP_STAGE + name.removeprefix(VIP_NORM): tensor for name, tensor in normed.items()}
    marks = {"query": UHD, "weight": LLAVA_LINEAR, "linear_1.weight": TRANSFORMERS}
    table = next((table for mark, table in marks.items() if mark in tensors), LLAVA)
    return table.read(tensors, source=source)


def load_projector(model: VisionLanguageModel, path: str | Path) -> None:
    """Copy a published projector, such as the result of a stage 1, into the connector of `model`.

    Args:
        model: its connector has the projector's class and sizes; its merge gets the newline if the file has one, its
            embeddings of the marks around pictures theirs (`MarkedPlan`), the last two rows of the file's table.
        path: safetensors file whose names contain `mm_projector.` or `multi_modal_projector.`, after any prefix.

    Raises:
        ValueError: if the file is pickled or damaged, contains anything else, or does not fit.
    """
    weights = StoredTensors(path)
    source = weights.source
    connector, merge, marks, other = {}, {}, dict[str, Tensor](), []
    for name, tensor in weights.stream(set(weights.shapes)):
        if before := BEFORE.match(name):
            connector[name[before.end() :]] = tensor
        elif name.endswith("image_newline"):
            merge["newline"] = tensor
        elif name.endswith(EMBEDDINGS) and isinstance(model.processor.plan, MarkedPlan):
            marks[name] = tensor
        else:
            other.append(name)
    if other:
        raise ValueError(
            f"{source} holds {sorted(other)[:5]} in addition to a projector: embeddings there belong to marks around "
            "pictures, which this model's prompts do not have (MarkedPlan puts them there)"
        )
    if not connector:
        raise ValueError(f"{source}: there is no projector among {sorted(weights.shapes)[:5]}")
    read = read_projector(connector, source=source)
    load_exact(model.connector, read, source=source)
    if merge:
        load_exact(nn.Module() if model.merge is None else model.merge, merge, source=f"{source} (merge)")
    for name, table in marks.items():
        _fill_marks(model, table, source=f"{source}: {name}")


@torch.no_grad()
def _fill_marks(model: VisionLanguageModel, trained: Tensor, *, source: str) -> None:
    """Copy the embeddings of the two marks: LLaVA's code saves the whole table, where they are the last two rows."""
    plan: Any = model.processor.plan
    table: Tensor = model.language_model.get_input_embeddings().weight
    if trained.shape[1:] != table.shape[1:] or len(trained) < 2:
        raise ValueError(f"{source} is {list(trained.shape)}, the language model's embeddings are {list(table.shape)}")
    rows = [separator_id(mark, model.processor.tokenizer) for mark in (plan.start, plan.end)]
    table[rows] = trained[-2:].to(table)


def _mlp(shapes: Mapping[str, Any], in_width: Any, out_width: int, prefix_tokens: int = 0) -> MlpProjector:
    depth = _count(shapes, r"(\d+\.|linear_\d+\.)?weight")
    blocks = _count(shapes, r"\d+\.pre_norm\.weight")
    return MlpProjector(in_width, out_width, depth=depth, prefix_tokens=prefix_tokens, residual_blocks=blocks)


def _fuser(shapes: Shapes, in_width: Any, source: str) -> MMFuser:
    offsets, one_map = "0.cross_attn.sampling_offsets.bias", "0.self_attn.sampling_offsets.bias"
    if offsets not in shapes:
        raise ValueError(f"{source}: the fuser has no {offsets}, which determines its number of heads")
    if not isinstance(in_width, tuple) or len(in_width) < 2:
        raise ValueError(
            f"{source}: a fuser takes several layers, mm_vision_select_layer names one: it must be a list such as "
            "[-22, -17, -12, -7, -2]"
        )
    numbers = shapes[offsets][0] // (2 * FUSER_POINTS)  # heads times levels
    if one_map in shapes and shapes[offsets][0] != shapes[one_map][0] * (len(in_width) - 1):
        raise ValueError(
            f"{source}: the fuser was made for {shapes[offsets][0] // shapes[one_map][0] + 1} layers, "
            f"mm_vision_select_layer names {len(in_width)}"
        )
    heads = numbers // (len(in_width) - 1)
    return MMFuser(in_width, heads=heads, points=FUSER_POINTS, use_self_attention="0.gamma2" in shapes)


def _after_fuser(named: Mapping[str, Any]) -> dict[str, Any]:
    """The names of the MLP after a fuser as if it stood alone: the leading index is lowered by one."""
    after = {}
    for name, value in named.items():
        number, _, rest = name.partition(".")
        if number != "0":
            after[f"{int(number) - 1}.{rest}" if number.isdigit() else name] = value
    return after


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in names)
