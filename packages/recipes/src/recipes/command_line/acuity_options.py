"""Options of `acuity`."""

import argparse

from recipes.command_line.checkpoints import EXAMPLE, checkpoint_in
from recipes.command_line.configurations import UsageError
from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.model_options import add_allow_import
from recipes.command_line.option_parser import OptionParser
from recipes.command_line.sources import literal

MOST_PAGES, MOST_CHARACTERS, LONGEST_SIDE = 100_000, 1000, 10_000
"""What a chart may ask for; more is a slip of the fingers."""


def acuity_options() -> argparse.Namespace:
    """Parse the options of `acuity`; `named` are the models as they were given, `checkpoints` where they are.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.acuity",
        usage="%(prog)s CHECKPOINT [CHECKPOINT ...] --output FOLDER [options]",
        description="An eye test for one model or several: how small may characters be?",
    )
    said = f"folder saved by recipes.fit, its run, or any image-text-to-text model of transformers like {EXAMPLE}"
    parser.add_argument("folders", metavar="CHECKPOINT", type=local_path, nargs="*", help=said)
    parser.add_argument(
        "--checkpoint", metavar="CHECKPOINT", type=local_path, nargs="+", default=[], help="the same, as an option"
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        type=local_path,
        required=True,
        help="folder for the chart and its numbers",
    )
    parser.add_argument("--alphabet", help="characters to print (default: those that the run trained on, or digits)")
    parser.add_argument("--question", help="asked about every page (default: the one that the run trained on)")
    parser.add_argument(
        "--heights",
        type=float,
        nargs="+",
        metavar="PIXELS",
        help="of the characters (default: from the run's down)",
    )
    parser.add_argument(
        "--sizes", nargs="+", metavar="WIDTHxHEIGHT", help="of the pages in pixels (default: the run's)"
    )
    parser.add_argument("--characters", type=int, default=3, help="characters on a page (default: 3)")
    fonts = literal("recipes.acuity_chart.glyphs", "FontName")
    parser.add_argument(
        "--fonts", nargs="+", choices=fonts, metavar="FONT", help=f"of {', '.join(fonts)} (default: the run's, or all)"
    )
    parser.add_argument(
        "--contrasts",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="of ink on paper, 1: black (default: the run's, or 1 0.5)",
    )
    parser.add_argument("--pages", type=int, default=80, help="at each height (default: 80)")
    parser.add_argument("--seed", type=int, default=0, help="of pages and intervals (default: 0)")
    parser.add_argument("--batch_size", type=int, default=16, help="pages read together (default: 16)")
    parser.add_argument("--max_new_tokens", type=int, default=32, help="longest answer, in tokens (default: 32)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the GPU if there is one)")
    add_allow_import(parser)
    options = parser.parse_intermixed_args()
    options.named = [*options.folders, *options.checkpoint]
    if not options.named:
        stop(f"give a model: a folder, a run, or a hub name like {EXAMPLE}", "--help lists the options")
    if twice := [each for each in options.named if options.named.count(each) > 1]:
        stop(f"{twice[0]} is given twice")
    if min(options.pages, options.batch_size, options.max_new_tokens, options.characters) < 1:
        stop("--pages, --batch_size, --max_new_tokens and --characters must be at least 1")
    if options.pages > MOST_PAGES or options.characters > MOST_CHARACTERS or options.seed < 0:
        stop(f"at most {MOST_PAGES} --pages of {MOST_CHARACTERS} --characters, and a --seed of at least 0")
    if options.alphabet is not None and not options.alphabet.strip():
        stop("--alphabet is empty: give the characters to print")
    for size in options.sizes or ():
        sides = size.split("x")
        if any(side.isdecimal() and not 1 <= int(side) <= LONGEST_SIDE for side in sides):
            stop(f"--sizes: {size:.60} has a side that is not 1 to {LONGEST_SIDE} pixels")
    if options.heights is not None and (wrong := [each for each in options.heights if not 1 <= each <= 1000]):
        stop(f"--heights: {wrong[0]:g} is not between 1 and 1000 pixels")
    try:
        options.checkpoints = [checkpoint_in(named) for named in options.named]
    except UsageError as error:
        stop(str(error))
    return options
