"""Options of the commands that open a checkpoint, read before a model is imported: a misspelt one is found at once."""

import argparse
from pathlib import Path

from recipes.command_line.console import stop
from recipes.command_line.sources import literal


def predict_options() -> argparse.Namespace:
    """What was typed after `predict`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(prog="python -m recipes.predict", description="Ask a saved model about pictures.")
    parser.add_argument("checkpoint", type=Path, help="folder that recipes.fit or others have saved")
    parser.add_argument("--image", type=Path, nargs="+", default=[], help="one or more pictures")
    parser.add_argument("--question", help="the question; <image> in it places the pictures")
    parser.add_argument("--data", type=Path, help='JSONL instead: {"id": ..., "image": ..., "question": ...} a line')
    parser.add_argument("--images", type=Path, help="folder of the JSONL's pictures (default: the JSONL's own)")
    parser.add_argument("--output", type=Path, help="JSONL for the answers (default: the screen)")
    add_options(parser)
    options = parser.parse_args()
    if (options.question is None) == (options.data is None):
        stop("give either --question (with --image), or --data")
    if options.data is None and (options.output is not None or options.images is not None):
        stop("--output and --images belong to --data")
    if options.data is not None and options.image:
        stop("--image belongs to --question; the file of --data names its own pictures")
    return options


def chat_options() -> argparse.Namespace:
    """What was typed after `chat`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(prog="python -m recipes.chat", description="Talk with a saved model.")
    parser.add_argument("images", type=Path, nargs="*", metavar="image", help="pictures of the first question")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that recipes.fit or others have saved")
    add_options(parser)
    options = parser.parse_intermixed_args()
    if options.max_new_tokens < 1:
        stop(f"--max_new_tokens is {options.max_new_tokens}: an answer has at least one")
    return options


def merge_options() -> argparse.Namespace:
    """What was typed after `merge_shards`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(
        prog="python -m recipes.merge_shards",
        description="Write the model of a training state as a checkpoint, with LoRA as adapters beside their base.",
    )
    parser.add_argument("state", type=Path, help="training state, or a run: its newest state")
    parser.add_argument(
        "output", type=Path, nargs="?", help="folder (default: checkpoint-step-NNNNNNNN in the folder of the run)"
    )
    parser.add_argument(
        "--allow_import",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="package that the run's configuration may name beside Foveal's, Lightning's and torch's",
    )
    return parser.parse_args()


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Options about checkpoints that do not say everything, the same in every command that opens one."""
    templates = literal("foveal.models.prompts.templates", "TemplateName")
    parser.add_argument("--template", choices=templates, help="prompt template (default: the checkpoint's)")
    parser.add_argument("--encoder", help="folder or hub name of the image tower, if the checkpoint has none")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options about answers, the same in every command that gives some."""
    add_reading_options(parser)
    parser.add_argument("--max_new_tokens", type=int, default=128, help="longest answer, in tokens (default: 128)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest answer; above: sampled")
    parser.add_argument(
        "--quantize",
        choices=literal("foveal.models.language_models.quantize", "Kind"),
        help="read the decoder into 4 or 8 bits (default: as it was saved)",
    )
    parser.add_argument(
        "--cuda_graphs",
        action="store_true",
        help="start all kernels of a decoding step at once, where that can be",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the GPU if there is one)")
