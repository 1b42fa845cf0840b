"""Open a model: a folder of ours, a published checkpoint, or adapters together with their base."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from foveal.encoders.hub import only_shapes
from foveal.models.checkpoints.adapter import MANIFEST, apply_adapter, base_of, is_adapter, read_manifest
from foveal.models.checkpoints.folder import built, open_checkpoint
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.language_models.build import DType
from foveal.models.language_models.packed_attention import AttentionKind
from foveal.models.language_models.quantize import Kind, record
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.processor import Overlong
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.published import is_published, open_published
from foveal.models.published.peft_layout import convert_first, is_foreign_adapter
from foveal.models.views.named import PlanName, chosen_plan
from foveal.models.views.plan import ViewPlan


def load(
    folder: str | Path,
    *,
    plan: ViewPlan | PlanName | None = None,
    template: TemplateName | None = None,
    max_length: int | None = None,
    overlong: Overlong | None = None,
    dtype: DType = "auto",
    quantize: Kind | None = None,
    encoder: str | None = None,
    attention: AttentionKind | None = None,
    allow: Sequence[str] = (),
) -> VisionLanguageModel:
    """Open a checkpoint folder on the CPU (on the meta device if that is the default one), in evaluation mode.

    Args:
        folder: written by `save`; or a published checkpoint, recognised by its contents (see `open_published`), or its
            hub name; or a folder of adapters, whose base is opened (see `load_adapter`).
        plan: overrides the checkpoint's plan, as between the stages of a training. `uhd_release_evaluation`:
            LLaVA-UHD's with every picture's longer side resized to 1024 pixels, as in the evaluation of its release;
            `crop_to_patches`: GOT-OCR 2.0's with up to 12 tiles and a thumbnail; `interleave_evaluation`:
            LLaVA-NeXT-Interleave's with one view of every picture, as in its evaluation.
        template: overrides the checkpoint's prompt template and its system text.
        max_length: overrides the longest sequence, in tokens.
        overlong: overrides how over-long samples are handled, see `Processor`.
        dtype: dtype of all weights that are not quantised; `auto`: as they were saved.
        quantize: how the language model's decoder is quantised while it is read; null: not, or as it was saved.
        encoder: folder or hub name of the image tower, for published checkpoints without one.
        attention: attention kernel of the language model, see `VisionLanguageModel`.
        allow: packages other than Foveal that the checkpoint's parts may come from; they are imported.

    Raises:
        ValueError: if the folder is not a checkpoint, or a tensor of a part is missing, unexpected or of another shape;
            if the language model was saved quantised in another way, or cannot be quantised; if an encoder is given for
            a folder that `save` wrote.
        ImportError: if the language model is quantised, and bitsandbytes is not installed.
    """
    overrides = Overrides(
        plan=plan,
        template=template,
        max_length=max_length,
        overlong=overlong,
        dtype=dtype,
        quantize=quantize,
        encoder=encoder,
        attention=attention,
        allow=allow,
    )
    return open_model(folder, overrides)


def load_adapter(
    folder: str | Path,
    *,
    base: str | Path | None = None,
    plan: ViewPlan | PlanName | None = None,
    template: TemplateName | None = None,
    max_length: int | None = None,
    overlong: Overlong | None = None,
    dtype: DType = "auto",
    quantize: Kind | None = None,
    encoder: str | None = None,
    attention: AttentionKind | None = None,
    allow: Sequence[str] = (),
) -> VisionLanguageModel:
    """Open an adapter folder: its base as `load` opens it, with adapters and connector, in evaluation mode.

    Args:
        folder: written by `save_adapter`.
        base: where the base is now; None: where the manifest says.
        plan: overrides the adapter's plan, also by a name that `load` knows.
        template: overrides the adapter's prompt template and its system text.
        max_length: overrides the longest sequence, in tokens.
        overlong: overrides how over-long samples are handled, see `Processor`.
        dtype: dtype of the connector and of the base's weights that are not quantised; adapters are float32.
        quantize: how the base's decoder is quantised while it is read; null: as it was when the adapters were trained.
        encoder: folder or hub name of the image tower, for published bases without one.
        attention: attention kernel of the language model, see `VisionLanguageModel`.
        allow: packages other than Foveal that parts may come from; they are imported.

    Raises:
        ValueError: if the folder holds no adapter, the base does not exist or does not have the weights that the
            adapters were trained on, or as for `load`.
        ImportError: if peft is not installed, or as for `load`.
    """
    overrides = Overrides(
        plan=plan,
        template=template,
        max_length=max_length,
        overlong=overlong,
        dtype=dtype,
        quantize=quantize,
        encoder=encoder,
        attention=attention,
        allow=allow,
    )
    return _open_adapter(folder, base, overrides)


def open_model(folder: str | Path, overrides: Overrides) -> VisionLanguageModel:
    """Open any folder that `load` reads; options and errors are those of `load`."""
    if is_adapter(folder):
        return _open_adapter(folder, None, overrides)
    if is_foreign_adapter(folder):
        raise ValueError(convert_first(folder))
    if is_published(folder):
        return open_published(folder, overrides)
    if overrides.encoder is not None:
        raise ValueError(
            f"{folder} has its own encoder: only published checkpoints without one take another ({overrides.encoder})"
        )
    return open_checkpoint(folder, overrides)


def load_base(folder: str | Path, base: str | Path, overrides: Overrides) -> VisionLanguageModel:
    """Open the base of the adapter folder `folder`, with the adapter's plan and prompts but without adapters.

    Options and errors are those of `load_adapter`, except that `base` and `quantize` are used as they are.
    """
    manifest, allowed = read_manifest(folder), ("foveal", *overrides.allow)
    model = open_model(
        base,
        replace(
            overrides,
            plan=chosen_plan(overrides.plan, lambda: built(manifest, "plan", Path(folder) / MANIFEST, allow=allowed)),
            template=overrides.template if overrides.template is not None else manifest["template"],
            max_length=overrides.max_length if overrides.max_length is not None else manifest["max_length"],
            overlong=overrides.overlong if overrides.overlong is not None else manifest["overlong"],
        ),
    )
    if overrides.template is None:
        model.processor.system = manifest["system"]
    if only_shapes() and overrides.quantize is not None:
        record(model.language_model, overrides.quantize)
    return model


def _open_adapter(folder: str | Path, base: str | Path | None, overrides: Overrides) -> VisionLanguageModel:
    found = base_of(folder, base)
    if overrides.quantize is None:
        overrides = replace(overrides, quantize=read_manifest(folder)["base"]["quantize"])
    model = load_base(folder, found, overrides)
    apply_adapter(model, folder)
    return model
