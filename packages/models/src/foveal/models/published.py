"""Published LLaVA checkpoints: which tensor belongs to which part, under our names."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from foveal.connectors import MlpProjector
from foveal.connectors.mlp import LLAVA, LLAVA_LINEAR, TRANSFORMERS
from foveal.core import load_exact
from foveal.encoders import VisionTransformer, clip_weights
from foveal.models.model import VisionLanguageModel


@dataclass(frozen=True)
class Layout:
    """Where a kind of checkpoint keeps its parts: the first prefix that fits a name decides."""

    tower: str
    connector: str
    language_model: tuple[tuple[str, str], ...]


ORIGINAL = Layout("model.vision_tower.", "model.mm_projector.", (("model.", "model."), ("lm_head.", "lm_head.")))
IN_MEMORY = Layout(
    "model.vision_tower.",
    "model.multi_modal_projector.",
    (("model.language_model.", "model."), ("lm_head.", "lm_head.")),
)
LEGACY = Layout(
    "vision_tower.",
    "multi_modal_projector.",
    (("language_model.model.", "model."), ("language_model.lm_head.", "lm_head.")),
)


def load_llava(model: VisionLanguageModel, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy a published LLaVA's weights into `model`, which was built in its sizes.

    Read are the original names (`model.mm_projector.0.weight`), those of transformers' files
    (`multi_modal_projector.linear_1.weight`) and of its models in memory (`model.multi_modal_projector...`).

    Args:
        model: with a `VisionTransformer` and an `MlpProjector`; its merge, if it has one, gets the learned newline.
        tensors: of the checkpoint; without a vision tower, as the original has none, the encoder's weights stay.
        source: named in errors.

    Raises:
        ValueError: if the layout is unknown, a part does not fit, or the model has other parts.
    """
    if not isinstance(model.encoder, VisionTransformer) or not isinstance(model.connector, MlpProjector):
        raise ValueError("a LLaVA checkpoint fits a model of VisionTransformer and MlpProjector")
    layout = _layout_of(tensors, source)
    tower: dict[str, Tensor] = {}
    connector: dict[str, Tensor] = {}
    merge: dict[str, Tensor] = {}
    language_model: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith("rotary_emb.inv_freq"):
            continue  # a buffer that old checkpoints kept
        if name.startswith(layout.tower):
            tower[name.removeprefix(layout.tower)] = tensor
        elif name.startswith(layout.connector):
            connector[name.removeprefix(layout.connector)] = tensor
        elif name.removeprefix("model.") == "image_newline":
            merge["newline"] = tensor
        else:
            language_model[_renamed(name, layout, source)] = tensor
    if tower:
        read = clip_weights(_bare(tower), model.encoder, source=source)
        load_exact(model.encoder, read, source=f"{source} (encoder)")
    table = LLAVA_LINEAR if "weight" in connector else TRANSFORMERS if "linear_1.weight" in connector else LLAVA
    load_exact(model.connector, table.read(connector, source=source), source=f"{source} (connector)")
    load_exact(model.merge if model.merge is not None else nn.Module(), merge, source=f"{source} (merge)")
    part: nn.Module = model.language_model
    load_exact(part, language_model, source=f"{source} (language model)")


def _layout_of(tensors: Mapping[str, Tensor], source: str) -> Layout:
    for layout in (IN_MEMORY, LEGACY, ORIGINAL):
        if any(name.startswith(layout.connector) for name in tensors):
            return layout
    raise ValueError(f"{source}: no LLaVA checkpoint, there is no projector among {sorted(tensors)[:3]}")


def _renamed(name: str, layout: Layout, source: str) -> str:
    for published, ours in layout.language_model:
        if name.startswith(published):
            return ours + name.removeprefix(published)
    raise ValueError(f"{source}: {name} belongs to no part of a LLaVA")


def _bare(tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the levels that wrappers have put around the tower."""
    return {name.removeprefix("vision_tower.").removeprefix("vision_model."): value for name, value in tower.items()}
