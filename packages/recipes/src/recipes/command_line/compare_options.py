"""Options of `compare`."""

import argparse

from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.option_parser import OptionParser


def compare_options() -> argparse.Namespace:
    """Parse the options of `compare`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.compare",
        usage="%(prog)s RUN [RUN ...] --output FOLDER [--force]",
        description="Show runs beside each other on one HTML page: scores, curves, settings that differ, predictions.",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=local_path,
        nargs="+",
        help="folder of a run, CSV of any logger, or folder with results of recipes.evaluate or recipes.acuity",
    )
    parser.add_argument("--output", metavar="FOLDER", type=local_path, required=True, help="folder for comparison.html")
    parser.add_argument("--force", action="store_true", help="also show scores that were measured in different ways")
    options = parser.parse_intermixed_args()
    if twice := [each for each in options.runs if options.runs.count(each) > 1]:
        stop(f"{twice[0]} is given twice")
    return options
