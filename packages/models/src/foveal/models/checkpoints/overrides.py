"""Options that override a checkpoint's own settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.models.language_models.build import DType
from foveal.models.language_models.packed_attention import AttentionKind
from foveal.models.language_models.quantize import Kind
from foveal.models.prompts.processor import Overlong
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.views.named import PlanName
from foveal.models.views.plan import ViewPlan


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """The options of `load` as one object; every default leaves the checkpoint as it is.

    Attributes:
        plan: overrides the checkpoint's plan, as between training stages; a name: a variant of it (`chosen_plan`).
        template: overrides the checkpoint's prompt template and its system text.
        max_length: overrides the longest sequence, in tokens.
        overlong: overrides how samples longer than `max_length` are handled, see `Processor`.
        dtype: dtype of all weights that are not quantised; `auto`: as saved.
        quantize: how the language model's decoder is quantised while it is read; None: as saved.
        encoder: folder or hub name of the image tower, for published checkpoints without one.
        attention: attention kernel of the language model, see `VisionLanguageModel`.
        allow: packages other than Foveal that the checkpoint's parts may come from; they are imported.
    """

    plan: ViewPlan | PlanName | None = None
    template: TemplateName | None = None
    max_length: int | None = None
    overlong: Overlong | None = None
    dtype: DType = "auto"
    quantize: Kind | None = None
    encoder: str | None = None
    attention: AttentionKind | None = None
    allow: Sequence[str] = ()
