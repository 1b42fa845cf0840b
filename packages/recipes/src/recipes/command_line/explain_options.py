"""Options of `explain`."""

import argparse

from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.model_options import add_checkpoint, add_loading_options, add_question, read_checkpoint
from recipes.command_line.option_parser import OptionParser
from recipes.command_line.sources import literal


def explain_options() -> argparse.Namespace:
    """Parse the options of `explain`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.explain",
        usage="%(prog)s CHECKPOINT --image FILE --question TEXT [options]",
        description="Show which parts of a picture made a model write its answer, and each word of it.",
    )
    add_checkpoint(parser)
    add_question(parser)
    parser.add_argument("--answer", help="the answer to explain (default: the model's own)")
    parser.add_argument(
        "--each",
        choices=literal("foveal.models.relevance.words", "Each"),
        default="word",
        help="what is explained besides the whole answer (default: each word)",
    )
    parser.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X0", "Y0", "X1", "Y1"),
        help="where the answer stands, in pixels of the picture: how much of the relevance is there?",
    )
    parser.add_argument(
        "--output", type=local_path, default="explained", metavar="FOLDER", help="for the figures (default: explained)"
    )
    parser.add_argument("--max_new_tokens", type=int, default=128, help="longest answer, in tokens (default: 128)")
    add_loading_options(parser)
    options = parser.parse_intermixed_args()
    if not options.image or options.question is None:
        stop("give --image and --question", "--help lists the options")
    if options.box is not None and (len(options.image) > 1 or not _has_area(*options.box)):
        stop("--box takes four numbers X0 Y0 X1 Y1, the last two larger than the first, and one --image")
    if options.max_new_tokens < 1:
        stop(f"--max_new_tokens is {options.max_new_tokens}: it must be at least 1")
    read_checkpoint(options)
    return options


def _has_area(left: float, top: float, right: float, bottom: float) -> bool:
    return left < right and top < bottom
