"""Put the result of a LoRA training by LLaVA's own code, or by peft, onto its base."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import StoredTensors, load_exact
from foveal.encoders import VisionTransformer
from foveal.encoders.encoder import hidden_states
from foveal.encoders.hub import folder_of
from foveal.models.checkpoints.folder import described_parts
from foveal.models.checkpoints.load import open_model
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.lora import Lora, add_lora, fill_lora
from foveal.models.model import VisionLanguageModel
from foveal.models.published.llava_layout import has_merge, plan_of
from foveal.models.published.peft_layout import layers_of
from foveal.models.published.projectors import BEFORE, read_projector
from foveal.models.published.read import config_of_folder, is_published, opened
from foveal.models.views.plan import ViewPlan

NEWLINE = "model.image_newline"
TOWER = "mm_vision_tower"


def open_onto(
    base: str, config: Mapping[str, Any] | None, trained: Mapping[str, Tensor], overrides: Overrides
) -> tuple[VisionLanguageModel, bool]:
    """Open a base with the weights that a LoRA training changed in full; adapters are added by `with_adapters`.

    Args:
        base: anything `load` opens; with `config` also a language model alone, such as Vicuna.
        config: the `config.json` of LLaVA's training; None: the base's own.
        trained: weights by LLaVA's names, such as `model.mm_projector.0.weight`.
        overrides: as for `load`.

    Returns:
        The model; and whether `base` itself can be the base of an adapter folder: it is a model of the same parts, and
        nothing but connector and merge was trained in full.

    Raises:
        ValueError: if the base does not fit, or a weight has no place in it.
    """
    small = all(BEFORE.match(name) or name == NEWLINE for name in trained)
    if not is_published(base) or not _has_llavas_names(base):
        if config is not None:
            overrides = replace(overrides, plan=_plan_of_training(base, config, overrides))
        model = open_model(base, overrides)
        if not small:
            other = sorted(name for name in trained if not BEFORE.match(name) and name != NEWLINE)
            raise ValueError(
                f"{other[0]} was trained in full, which only a base in the layout of LLaVA's code can take"
            )
        _fill(model, trained)
        return model, True
    folder = folder_of(base)
    weights, own = StoredTensors(folder), config_of_folder(folder)
    described = own if config is None else config
    if TOWER not in described:
        raise ValueError(
            f"{base} is a language model alone, and the adapters' folder has no config.json with {TOWER}: as --base "
            "give a vision-language model"
        )
    if not any("mm_projector." in name for name in (*weights.shapes, *trained)):
        raise ValueError(f"neither {base} nor the adapters' folder (non_lora_trainables.bin) has a projector")
    model = opened(described, weights.replaced_by(trained), base, folder, overrides)
    has_tower = any("vision_tower." in name for name in weights.shapes)
    if not small or TOWER not in own or not (has_tower or own[TOWER] == described[TOWER]):
        return model, False
    with torch.device("meta"):
        alone = opened(own, weights, base, folder, overrides)
    return model, described_parts(alone) == described_parts(model)


def with_adapters(
    model: VisionLanguageModel, lora: Lora, factors: Mapping[str, Tensor], *, source: str
) -> VisionLanguageModel:
    """Add adapters with the given factors to the language model of `model`, in place.

    Args:
        model: without adapters.
        lora: their settings.
        factors: by the names in the language model, see `factors_of`.
        source: named in errors.

    Raises:
        ValueError: if they do not fit, or are for other layers than linear ones of the decoder.
        ImportError: if peft is not installed.
    """
    try:
        add_lora(model, lora, layers_of(factors))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    fill_lora(model.language_model, factors, source=source)
    return model.eval()


def _has_llavas_names(base: str) -> bool:
    """Whether the language model's tensors have the names that LLaVA's code gives them, or the language model alone."""
    names = StoredTensors(folder_of(base)).shapes
    return any(name.startswith("model.layers.") for name in names)


def _plan_of_training(base: str, config: Mapping[str, Any], overrides: Overrides) -> ViewPlan:
    """The plan that `config` describes for the parts of `base`.

    Raises:
        ValueError: if the training had other parts.
    """
    with torch.device("meta"):
        parts = open_model(base, overrides)
    tower, chosen = parts.encoder, config.get("mm_vision_select_layer", -1)
    if not isinstance(tower, VisionTransformer):
        raise ValueError(f"{base}: its encoder, a {type(tower).__name__}, is none of those of LLaVA's code")
    layers = tuple(chosen) if isinstance(chosen, list) else (chosen,)
    if hidden_states(layers, tower.depth) != tower.states:
        raise ValueError(
            f"{base}: its encoder gives the layers {tower.layers}, the adapters were trained with "
            f"mm_vision_select_layer {chosen}"
        )
    if has_merge(config) != (parts.merge is not None):
        name = "no merge" if parts.merge is None else f"a {type(parts.merge).__name__}"
        aspect = config.get("image_aspect_ratio")
        raise ValueError(f"{base} has {name}, the adapters were trained with image_aspect_ratio {aspect}")
    return plan_of(config, tower, parts.connector, parts.merge, source=base)


def _fill(model: VisionLanguageModel, trained: Mapping[str, Tensor]) -> None:
    projector = {name[found.end() :]: tensor for name, tensor in trained.items() if (found := BEFORE.match(name))}
    if projector:
        source = "the projector that was trained"
        load_exact(model.connector, read_projector(projector, source=source), source=source)
    if NEWLINE in trained:
        merge = nn.Module() if model.merge is None else model.merge
        load_exact(merge, {"newline": trained[NEWLINE]}, source=NEWLINE)
