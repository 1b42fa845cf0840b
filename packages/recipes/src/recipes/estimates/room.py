"""Check whether a model fits on its GPU, before its weights are read."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from foveal.core import Size
from foveal.models import Turn, VisionLanguageModel, load, load_adapter
from foveal.models.language_models.quantize import Kind, StoredKind, recorded_kind
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.prompts.templates import with_pictures
from foveal.models.prompts.videos import sizes_as_cut
from foveal.models.views.named import PlanName

if TYPE_CHECKING:
    from foveal.models.estimates.memory import Memory


def refuse_if_too_large(memory: "Memory", free: int, *, what: str, advice: str) -> None:
    """Refuse what needs more memory than is free.

    Args:
        memory: the memory needed.
        free: free bytes of the device.
        what: what is refused, for the message.
        advice: what needs less, for the message.

    Raises:
        ValueError: if it does not fit, with all figures.
    """
    if memory.total > free:
        parts = ("weights", "cache", "gradients", "optimizer", "activations")
        figures = [(part, getattr(memory, part) / 1e9) for part in parts]
        listed = ", ".join(f"{part} {figure:.2f}" for part, figure in figures if figure > 0)
        raise ValueError(
            f"{what} needs {memory.total / 1e9:.2f} GB ({listed}), {free / 1e9:.2f} GB are free: {advice}; "
            "compare the ways to use a model with python -m recipes.cost"
        )


def free_bytes(device: str | torch.device) -> int | None:
    """Free memory of a GPU in bytes; None for other devices, which are not checked."""
    if torch.device(device).type != "cuda":
        return None
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def check_room_to_answer(
    checkpoint: str | Path,
    pictures: Sequence[Size | list[Size]],
    question: str,
    *,
    new_tokens: int,
    free: int | None,
    batch_size: int = 1,
    base: str | Path | None = None,
    quantize: Kind | None = None,
    template: TemplateName | None = None,
    plan: PlanName | None = None,
    encoder: str | None = None,
    allow: Sequence[str] = (),
) -> None:
    """Refuse a checkpoint that is too large to answer a question on the GPU.

    Args:
        checkpoint: anything `load` opens; a hub name is downloaded first.
        pictures: sizes of the question's pictures; of a video, a list with those of its frames.
        question: its text.
        new_tokens: tokens of the answer.
        free: `free_bytes` of the device.
        batch_size: questions like this one answered together.
        base: as of `load_adapter`, for a folder of adapters.
        quantize: how the decoder will be quantised on loading; None: as it was saved.
        template: as of `load`.
        plan: as of `load`.
        encoder: as of `load`.
        allow: as of `load`.

    Raises:
        ValueError: if it does not fit, or as `load`.
    """
    if free is None:
        return
    # Fake tensors take a second to import, and are not needed without a GPU.
    from foveal.models.estimates.cost import prompt_tokens
    from foveal.models.estimates.memory import answering

    with torch.device("meta"):
        open_it = load if base is None else partial(load_adapter, base=base)
        model = open_it(checkpoint, template=template, plan=plan, encoder=encoder, allow=allow)
    asked = [Turn("user", with_pictures(question, len(pictures)))]
    sizes, turns = sizes_as_cut(pictures, asked, whole=model.processor.plan.frames is not None)
    length = model.processor.length(sizes, turns, open_ended=True)
    memory = answering(
        as_stored(model, quantize),
        sizes,
        text=length - sum(prompt_tokens(model, sizes)),
        new_tokens=new_tokens,
        batch=batch_size,
    )
    together = f" {batch_size} questions at a time" if batch_size > 1 else ""
    smaller = "a smaller --batch_size, " if batch_size > 1 else ""
    refuse_if_too_large(
        memory,
        free,
        what=f"answering{together} with {checkpoint}",
        advice=f"{smaller}smaller pictures or a quantised checkpoint need less",
    )


def as_stored(model: VisionLanguageModel, kind: Kind | None = None) -> VisionLanguageModel:
    """The model as quantised by `kind` or as it was saved, since nothing is quantised on the meta device."""
    from foveal.models.estimates.shape_only_layers import quantized

    found: StoredKind | None = kind or recorded_kind(model.language_model.config)
    return model if found is None else quantized(model, found)
