"""Copy a published LLaVA's weights from memory into a model of the same sizes."""

from collections.abc import Mapping

from torch import Tensor, nn

from foveal.connectors import MlpProjector
from foveal.core import load_exact
from foveal.encoders import VisionTransformer, clip_weights
from foveal.models.model import VisionLanguageModel
from foveal.models.published.projectors import read_projector
from foveal.models.published.tensor_names import IN_MEMORY, LEGACY, ORIGINAL, Table, divided


def load_llava(model: VisionLanguageModel, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy a published LLaVA's weights into `model`, which must have the same sizes.

    Accepted are the original names (`model.mm_projector.0.weight`), those of transformers' files
    (`multi_modal_projector.linear_1.weight`) and those of its models in memory (`model.multi_modal_projector...`).

    Args:
        model: has a `VisionTransformer` and an `MlpProjector`; its merge, if any, gets the learned newline.
        tensors: the checkpoint's tensors; if they include no vision tower, as in the original layout, the encoder keeps
            its weights.
        source: named in errors.

    Raises:
        ValueError: if the layout is unknown, a part does not fit, or the model has other parts.
    """
    if not isinstance(model.encoder, VisionTransformer) or not isinstance(model.connector, MlpProjector):
        raise ValueError("a LLaVA checkpoint fits only a model with VisionTransformer and MlpProjector")
    names = divided(tensors, _table_of(tensors, source), source=source)

    def part(name: str) -> dict[str, Tensor]:
        return names.inside(name, tensors)

    if tower := part("encoder"):
        read = clip_weights(tower, model.encoder, source=source)
        load_exact(model.encoder, read, source=f"{source} (encoder)")
    read = read_projector(part("connector"), source=source)
    load_exact(model.connector, read, source=f"{source} (connector)")
    load_exact(model.merge if model.merge is not None else nn.Module(), part("merge"), source=f"{source} (merge)")
    load_exact(model.language_model, part("language_model"), source=f"{source} (language model)")


def _table_of(tensors: Mapping[str, Tensor], source: str) -> Table:
    for table in (IN_MEMORY, LEGACY, ORIGINAL):
        prefix = next(row[0] for row in table if row[1] == "connector")
        if any(name.startswith(prefix) for name in tensors):
            return table
    raise ValueError(f"{source}: not a LLaVA checkpoint, there is no projector among {sorted(tensors)[:3]}")
