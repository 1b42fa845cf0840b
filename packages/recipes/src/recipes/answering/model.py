"""What commands that answer share: the device, and loading a model onto it."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import torch

from foveal.core import Size
from foveal.models import VisionLanguageModel, load, load_adapter
from foveal.models.generation.cuda_graphs import graphs_obstacle
from recipes.estimates.room import check_room_to_answer, free_bytes


def opened(
    options: argparse.Namespace, pictures: Sequence[Size | list[Size]], question: str, *, batch_size: int = 1
) -> VisionLanguageModel:
    """Load `options.checkpoint` onto its device.

    Args:
        options: those of `recipes.command_line.model_options`; if the device is None, it is set to the GPU, or to the
            CPU if there is none.
        pictures: sizes of the first question's pictures; of a video, a list with those of its frames. On a GPU there
            must be memory to answer it.
        question: text of the first question.
        batch_size: questions answered together.

    Raises:
        ValueError: if there is no such device, or not enough memory; or as `load`.
    """
    options.device = device_of(options.device)
    check_room_to_answer(
        options.checkpoint,
        pictures,
        question,
        new_tokens=options.max_new_tokens,
        free=free_bytes(options.device),
        batch_size=batch_size,
        base=options.base,
        quantize=options.quantize,
        template=options.template,
        plan=options.plan,
        encoder=options.encoder,
        allow=options.allow_import,
    )
    open_it = load if options.base is None else partial(load_adapter, base=options.base)
    model = open_it(
        options.checkpoint,
        quantize=options.quantize,
        template=options.template,
        plan=options.plan,
        encoder=options.encoder,
        allow=options.allow_import,
    )
    return model.to(options.device)


def device_of(named: str | None) -> str:
    """The device that `--device` names; None: the GPU, or the CPU if there is none.

    Raises:
        ValueError: if a GPU is named and there is none.
    """
    if named is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if torch.device(named).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {named}: there is no GPU that torch can use; leave the option out")
    return named


def takes_graphs(model: VisionLanguageModel, options: argparse.Namespace) -> bool:
    """Whether to decode with CUDA graphs; if they were asked for but are not possible, print why."""
    if not options.cuda_graphs:
        return False
    reason = graphs_obstacle(model.language_model, model.device)
    if reason is not None:
        print(f"Decoding without CUDA graphs: {reason}.", file=sys.stderr, flush=True)
    return reason is None
