"""Published weights of MoonViT and ViT-UHD, and patches of another size made from them."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import Backend, KeyMap, load_exact, read_tensors
from foveal.encoders.compression import Compression
from foveal.encoders.hub import folder_of, only_shapes, tower_weights, vision_config
from foveal.encoders.moonvit import MoonViT

KINDS = ("weight", "bias")
MOONVIT = KeyMap(
    {
        **{f"patch_embed.proj.{kind}": f"patches.{kind}" for kind in KINDS},
        "patch_embed.pos_emb.weight": "positions",
        **{
            f"encoder.blocks.{{}}.{theirs}.{kind}": f"{ours}.{kind}"
            for theirs, ours in {
                "norm0": "blocks.{}.attention_norm",
                "norm1": "blocks.{}.mlp_norm",
                "wqkv": "blocks.{}.qkv",
                "wo": "blocks.{}.out",
                "mlp.fc0": "blocks.{}.up",
                "mlp.fc1": "blocks.{}.down",
                "merger.attn_layer.0": "compressions.{}.hidden",
            }.items()
            for kind in KINDS
        },
        "encoder.blocks.{}.merger.attn_layer.2.weight": "compressions.{}.logits.weight",
        "encoder.blocks.{}.merger.attn_layer.2.bias": None,
        "encoder.blocks.{}.merger.zero_init_fc.weight": None,
        **{f"encoder.final_layernorm.{kind}": f"final_norm.{kind}" for kind in KINDS},
    }
)
"""The reference's names, without their prefix; a bias and a matrix that change nothing are left out."""

PREFIXES = ("model.vision_tower.vision_tower.", "vision_tower.vision_tower.", "vision_tower.", "")
METHODS: dict[str, Compression] = {"avg_pooling": "mean", "m_pooling": "learned"}
DEFAULTS = {
    "patch_size": 14,
    "init_pos_emb_height": 64,
    "init_pos_emb_width": 64,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "merger_layer_index": (),
    "merging_method": "avg_pooling",
}


def moonvit(
    name_or_folder: str,
    *,
    patch_size: int | None = None,
    compress_after: tuple[int, ...] | None = None,
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> MoonViT:
    """Build MoonViT or ViT-UHD with published weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: folder with `config.json` and `model.safetensors` under the authors' names, or a hub name such
            as `moonshotai/MoonViT-SO-400M`, which needs the package huggingface_hub (`foveal-encoders[hub]`).
        patch_size: pixels along one side of a patch; if it is not the published one, see `refined_patches`.
        compress_after: see `MoonViT`; for a folder without compressions these are new, and learned. None: the
            folder's own (`merger_layer_index`, from 0).
        checkpointing: see `MoonViT`.
        backend: see `MoonViT`.

    Raises:
        ValueError: if the folder does not hold such a tower, its weights do not fit its configuration, it compresses
            after other blocks than `compress_after`, or there is neither a folder nor a hub model of that name.
        ImportError: if a hub name is given and huggingface_hub is not installed.
    """
    folder = folder_of(name_or_folder)
    sizes = vision_config(folder, {"moonvit": "MoonViT"}, DEFAULTS)
    side = sizes["init_pos_emb_height"]
    if side != sizes["init_pos_emb_width"] or sizes["merging_method"] not in METHODS:
        raise ValueError(
            f"{folder / 'config.json'}: a position table of {side}x{sizes['init_pos_emb_width']} (only square ones are "
            f"supported) or merging_method {sizes['merging_method']!r} ({' or '.join(METHODS)})"
        )
    own = tuple(index + 1 for index in sizes["merger_layer_index"] or ())
    after = own if compress_after is None else tuple(compress_after)
    if own and after != own:
        raise ValueError(f"{folder} compresses after blocks {own}, not {after}: leave compress_after out")
    patch = patch_size or sizes["patch_size"]
    model = MoonViT(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        patch,
        patch * side,
        compress_after=after,
        compression=METHODS[sizes["merging_method"]] if own else "learned",
        checkpointing=checkpointing,
        backend=backend,
    )
    if only_shapes():
        return model
    weights = moonvit_weights(read_tensors(folder), model, source=str(folder))
    if patch != sizes["patch_size"]:
        weights["patches.weight"] = refined_patches(weights["patches.weight"], patch)
    fresh = {} if own else {name: each for name, each in model.state_dict().items() if name.startswith("compressions.")}
    load_exact(model, fresh | weights, source=str(folder))
    return model


def moonvit_weights(tensors: Mapping[str, Tensor], model: MoonViT, *, source: str) -> dict[str, Tensor]:
    """Rename the published weights of MoonViT or ViT-UHD to our names.

    Args:
        tensors: under the authors' names, with or without prefix.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    tables = {"patch_embed.pos_emb.weight": MOONVIT}
    weights = tower_weights(model, tensors, tables, kind="MoonViT", prefixes=PREFIXES, source=source)
    return weights | {"positions": weights["positions"].flatten(0, -2)}


def refined_patches(weight: Tensor, size: int) -> Tensor:
    """Make the kernel of patches of another size, so that its products with resized patches are nearly the same.

    For patches of white noise the error is the smallest possible: the pseudo-inverse of the bilinear resizing, times
    the kernel (FlexiViT, arXiv 2212.08013, section 3.4). LLaVA-UHD v3 describes its refined patch embedding as a
    pseudo-inverse too; its code is not published.

    Args:
        weight: [width, 3, side, side].
        size: pixels along one side of the new patches.

    Returns:
        [width, 3, size, size], in the dtype of `weight`
    """
    side = weight.shape[-1]
    units = torch.eye(side * side, dtype=torch.float64).view(-1, 1, side, side)
    resizing = F.interpolate(units, size=(size, size), mode="bilinear", align_corners=False).flatten(1)
    inverse = torch.linalg.pinv(resizing).to(weight.device)
    result: Tensor = (weight.double().flatten(2) @ inverse.T).unflatten(2, (size, size)).to(weight.dtype)
    return result
