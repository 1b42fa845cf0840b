"""What `predict` and `chat` share: options about answers, and how a model comes to its device."""

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

import torch

from foveal.models import VisionLanguageModel, load
from foveal.models.graph_decoding import graphs_obstacle
from foveal.models.prompts import TemplateName
from foveal.models.quantize import Kind
from recipes.room import check_room_to_answer, free_bytes


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Options about checkpoints that do not say everything, the same in every command that opens one."""
    templates = get_args(TemplateName)
    parser.add_argument("--template", choices=templates, help="prompt template (default: the checkpoint's)")
    parser.add_argument("--encoder", help="folder or hub name of the image tower, if the checkpoint has none")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options about answers, the same in every command that gives some."""
    add_reading_options(parser)
    parser.add_argument("--max_new_tokens", type=int, default=128, help="longest answer, in tokens (default: 128)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest answer; above: sampled")
    parser.add_argument(
        "--quantize", choices=get_args(Kind), help="read the decoder into 4 or 8 bits (default: as it was saved)"
    )
    parser.add_argument(
        "--cuda_graphs",
        action="store_true",
        help="start all kernels of a decoding step at once, where that can be",
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1 ..."
    )


def opened(options: argparse.Namespace, pictures: Sequence[tuple[int, int]], question: str) -> VisionLanguageModel:
    """The model of `options.checkpoint` on its device.

    Args:
        options: with those of `add_options`, and `checkpoint`.
        pictures: (width, height) in pixels of the first question's; on a GPU it must have room for the answer.
        question: its text.

    Raises:
        ValueError: if there is no room, or as `load`.
    """
    check_room_to_answer(
        options.checkpoint,
        pictures,
        question,
        new_tokens=options.max_new_tokens,
        free=free_bytes(options.device),
        quantize=options.quantize,
        template=options.template,
        encoder=options.encoder,
    )
    model = load(options.checkpoint, quantize=options.quantize, template=options.template, encoder=options.encoder)
    return model.to(options.device)


def takes_graphs(model: VisionLanguageModel, options: argparse.Namespace) -> bool:
    """Whether to decode with CUDA graphs; where they were asked for and cannot be, a line says why."""
    if not options.cuda_graphs:
        return False
    reason = graphs_obstacle(model.language_model, model.device)
    if reason is not None:
        print(f"Decoding without CUDA graphs: {reason}.", file=sys.stderr, flush=True)
    return reason is None
