"""SigLIP's image towers inside published LLaVAs: which block they return, and sizes that no file states.

LLaVA-NeXT's code (llava/model/multimodal_encoder/siglip_encoder.py) removes the last block and the pooling head before
it trains, and uses the output of the last block that is left, whatever `mm_vision_select_layer` says.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foveal.core import StoredTensors
from foveal.encoders import VisionTransformer, siglip_tower, siglip_vit, siglip_weights
from foveal.models.published.json_file import read_settings
from foveal.models.published.recipe import Reading
from foveal.models.published.tensor_names import Names
from foveal.models.published.towers import HEAD_WIDTH, depth_of, shape_of, unread_of_clip

HEADS = {1152: 16, 1536: 16}
"""Heads of the published SigLIPs whose heads are not 64 wide, by width: so400m and SigLIP 2's giant."""
NAME = re.compile(r"siglip2?-[\w-]*patch(\d+)-(\d+)")
BIAS = "embeddings.patch_embedding.bias"
"""CLIP's patches have none."""
HEAD = "head.probe"


def is_siglip(name: str, inside: Iterable[str]) -> bool:
    """Whether a LLaVA's image tower is a SigLIP.

    Args:
        name: the tower's folder or hub name, which is only asked if there are no tensors.
        inside: names of the tower's tensors in the checkpoint, without prefix.
    """
    if inside := set(inside):
        return BIAS in inside
    path = Path(name) / "config.json"
    if not path.is_file():
        return "siglip" in name.lower()
    described = read_settings(path)
    return "siglip" in str(described.get("vision_config", described).get("model_type"))


def of_original(
    config: Mapping[str, Any], names: Names, weights: StoredTensors, encoder: str | None
) -> tuple[VisionTransformer, tuple[Reading, ...]]:
    """The SigLIP of a folder in the layout of LLaVA's own code: without weights if the folder contains them.

    Args:
        config: the folder's `config.json`.
        names: the folder's tensors; those that are not read are removed from the encoder's.
        weights: the folder's tensors.
        encoder: folder or hub name of the image tower, replacing the name in the configuration.

    Raises:
        ValueError: if another layer, or a class token, is asked for, or a tensor that determines a size is missing.
    """
    source, layer = weights.source, config.get("mm_vision_select_layer", -2)
    inside = names.inside("encoder", weights.shapes)
    if config.get("mm_vision_select_feature", "patch") != "patch":
        raise ValueError(
            f"{source}: mm_vision_select_feature is {config['mm_vision_select_feature']!r}, a SigLIP has no class "
            "token: only patch can be read"
        )
    if layer != -2 and HEAD not in inside:
        raise ValueError(
            f"{source}: mm_vision_select_layer is {layer!r}; LLaVA's code uses the last but one block of a SigLIP, "
            "whatever this says: write -2 into config.json if the model was trained with it"
        )
    layers, name = tuple(layer) if isinstance(layer, list) else (layer,), encoder or str(config["mm_vision_tower"])
    if not inside:
        return siglip_vit(name, layers=layers), ()
    with torch.device("meta"):
        # In the files of LLaVA's code the last block is missing, like the head.
        tower = (
            siglip_vit(name, layers=layers)
            if encoder
            else _of_shapes(inside, name, removed=0 if HEAD in inside else 1, layers=layers, source=source)
        )
    return tower, (reading_of(tower, names),)


def of_library(
    source: str, layers: tuple[int, ...], strategy: str, names: Names, encoder: str | None
) -> tuple[VisionTransformer, Reading]:
    """The SigLIP of a folder in transformers' layout, on the meta device.

    Args:
        source: the folder.
        layers: the layers that are used.
        strategy: the folder's `vision_feature_select_strategy`.
        names: the folder's tensors; those that are not read are removed from the encoder's.
        encoder: folder of the image tower, if its sizes differ from those in the folder's `config.json`.

    Raises:
        ValueError: if a patch would be taken for a class token.
    """
    if strategy != "full":
        raise ValueError(
            f"{source}: vision_feature_select_strategy is {strategy!r}, which leaves out the first patch of a SigLIP, "
            "as it has no class token: only full can be read"
        )
    with torch.device("meta"):
        tower = siglip_vit(encoder or source, layers=layers)
    return tower, reading_of(tower, names)


def reading_of(tower: VisionTransformer, names: Names) -> Reading:
    """How `tower` is filled from the encoder's tensors, of which those that it does not need are removed."""
    unread = unread_of_clip(names.of("encoder").values(), tower)
    head = {name: "the pooling head" for name in names.of("encoder").values() if name.startswith("head.")}
    names.ignore("encoder", unread | head)
    return Reading("encoder", tower, partial(siglip_weights, model=tower))


def _of_shapes(
    shapes: Mapping[str, tuple[int, ...]], name: str, *, removed: int, layers: tuple[int, ...], source: str
) -> VisionTransformer:
    """The tower of one of Google's SigLIPs, given the shapes of its tensors and the number of removed blocks."""
    width, _, patch, _ = shape_of(shapes, "embeddings.patch_embedding.weight", source)
    patches, _ = shape_of(shapes, "embeddings.position_embedding.weight", source)
    mlp_width, _ = shape_of(shapes, "encoder.layers.0.mlp.fc1.weight", source)
    if width not in HEADS and width % HEAD_WIDTH:
        raise ValueError(
            f"{source}: a SigLIP of width {width} is not one of Google's, whose heads are known: "
            "give the folder of the tower as `encoder`, whose config.json states its sizes"
        )
    side = round(patches**0.5)
    named = NAME.search(name.lower())
    # 27 patches of 14 pixels leave 6 of 384 over, which only the name tells.
    native = int(named[2]) if named and int(named[2]) // patch == side else side * patch
    return siglip_tower(
        width,
        depth_of(shapes, r"encoder\.layers\.(\d+)\..*") + removed,
        HEADS.get(width, width // HEAD_WIDTH),
        mlp_width,
        patch,
        native,
        layers=layers,
    )
