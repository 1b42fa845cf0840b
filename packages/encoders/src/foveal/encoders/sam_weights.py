"""Published weight names of SAM and of the towers derived from it."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from foveal.core import KeyMap, load_exact, read_tensors
from foveal.encoders.hub import only_shapes, tower_weights
from foveal.encoders.sam import SamViTDet

KINDS = ("weight", "bias")
SHARED = {
    **{
        f"{{place}}.attn.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
        for published, ours in {"qkv": "qkv", "proj": "out"}.items()
        for kind in KINDS
    },
    **{
        f"{{place}}.mlp.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
        for published, ours in {"lin1": "up", "lin2": "down"}.items()
        for kind in KINDS
    },
    "{place}.attn.rel_pos_h": "blocks.{}.rows",
    "{place}.attn.rel_pos_w": "blocks.{}.columns",
}


def _blocks(place: str, norms: str) -> dict[str | tuple[str, ...], str | None]:
    """Rows for the weights of a block named `place`, whose norms are named `norms` plus a number."""
    rows: dict[str | tuple[str, ...], str | None] = {
        published.replace("{place}", place): ours for published, ours in SHARED.items()
    }
    for number, ours in ((1, "attention_norm"), (2, "mlp_norm")):
        rows |= {f"{place}.{norms}{number}.{kind}": f"blocks.{{}}.{ours}.{kind}" for kind in KINDS}
    return rows


ORIGINAL = KeyMap(
    {
        "pos_embed": "positions",
        **{f"patch_embed.proj.{kind}": f"patches.{kind}" for kind in KINDS},
        **_blocks("blocks.{}", "norm"),
        "neck.0.weight": "neck.reduce.weight",
        **{f"neck.1.{kind}": f"neck.reduce_norm.{kind}" for kind in KINDS},
        "neck.2.weight": "neck.mix.weight",
        **{f"neck.3.{kind}": f"neck.mix_norm.{kind}" for kind in KINDS},
        "net_2.weight": "convolutions.0.weight",
        "net_3.weight": "convolutions.1.weight",
        "downsamples.{}.weight": "convolutions.{}.weight",
    }
)
"""Names in segment-anything, Vary, DeepSeek-OCR and DeepSeek-VL (`downsamples`)."""

TRANSFORMERS = KeyMap(
    {
        "pos_embed": "positions",
        **{f"patch_embed.projection.{kind}": f"patches.{kind}" for kind in KINDS},
        **_blocks("layers.{}", "layer_norm"),
        "neck.conv1.weight": "neck.reduce.weight",
        **{f"neck.layer_norm1.{kind}": f"neck.reduce_norm.{kind}" for kind in KINDS},
        "neck.conv2.weight": "neck.mix.weight",
        **{f"neck.layer_norm2.{kind}": f"neck.mix_norm.{kind}" for kind in KINDS},
        "proj.conv1.weight": "convolutions.0.weight",
        "proj.conv2.weight": "convolutions.1.weight",
        "conv_upsampler1.weight": "convolutions.0.weight",
        "conv_upsampler2.weight": "convolutions.1.weight",
    }
)
"""transformers' names for SAM, DeepSeek-OCR 2 (`proj`) and GOT-OCR2, whose "upsamplers" halve the map."""

PREFIXES = (
    "image_encoder.",
    "vision_encoder.",
    "model.vision_tower_2.",
    "model.vision_tower_high.",
    "transformer.vision_tower_high.",
    "model.vision_tower.",
    "vision_tower.",
    "",
)
OTHER_PARTS = ("prompt_encoder.", "mask_decoder.", "shared_image_embedding.")


def sam_vit(path: str | Path, *, new_convolutions: bool = False, checkpointing: bool = False) -> SamViTDet:
    """Build SAM's ViT-B, or the Vary vocabulary derived from it, with published weights.

    Under `torch.device("meta")` nothing is read, since there is only one size.

    Args:
        path: safetensors file, or folder in transformers' layout.
        new_convolutions: initialise the strided convolutions anew, for SAM's own file, which has none.
        checkpointing: see `SamViTDet`.

    Raises:
        ValueError: if a tensor is missing, left over or of another shape.
    """
    model = SamViTDet(checkpointing=checkpointing)
    if only_shapes():
        return model
    weights = sam_weights(read_tensors(path), model, source=str(path))
    if new_convolutions:
        fresh = {name: value for name, value in model.state_dict().items() if name.startswith("convolutions.")}
        if found := sorted(set(fresh) & set(weights)):
            raise ValueError(f"{path} has {found}: new_convolutions would discard them")
        weights |= fresh
    load_exact(model, weights, source=str(path))
    return model


def sam_weights(tensors: Mapping[str, Tensor], model: SamViTDet, *, source: str) -> dict[str, Tensor]:
    """Rename a SAM encoder's published weights to our names.

    Args:
        tensors: under the original's or transformers' names, with or without prefix; SAM's decoders are left out.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    beside = "multi_modal_projector."  # where GOT-OCR2 keeps the convolutions
    moved = {
        name.replace(beside, "vision_tower.") if name.startswith(beside + "conv_upsampler") else name: tensor
        for name, tensor in tensors.items()
    }
    tables = {"patch_embed.proj.weight": ORIGINAL, "patch_embed.projection.weight": TRANSFORMERS}
    return tower_weights(model, moved, tables, kind="SAM", prefixes=PREFIXES, ignored=OTHER_PARTS, source=source)
