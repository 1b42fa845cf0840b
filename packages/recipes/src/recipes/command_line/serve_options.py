"""The options of `serve`."""

import argparse
import re
from pathlib import Path

from recipes.command_line.checkpoints import EXAMPLE, READER
from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.model_options import add_loading_options, found_checkpoint, reader_or_stop
from recipes.command_line.option_parser import OptionParser

SHARED = re.compile(r"version_\d+|checkpoint|adapter|(checkpoint-)?step-\d+")
"""Names of folders that every run has: they say nothing without the folder that they are in."""


def model_name(given: Path) -> str:
    """What clients call a checkpoint: its hub name, or the name of its folder, with as much before it as is needed.

    Args:
        given: hub name, or folder, as it was typed.
    """
    if not given.is_dir():
        return str(given)
    *before, name = given.resolve().parts
    while SHARED.fullmatch(name.partition("/")[0]) and len(before) > 1:
        name = f"{before.pop()}/{name}"
    return name


def serve_options() -> argparse.Namespace:
    """Parse the options of `serve`.

    Returns:
        With `checkpoints`, a mapping from the names of models to their folders or hub names.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.serve",
        usage="%(prog)s CHECKPOINT [CHECKPOINT ...] [options]",
        description="Answer over HTTP, like OpenAI's chat completions. The environment's FOVEAL_API_KEY, if set, is "
        "the key that clients must send.",
    )
    said = f"folders saved by recipes.fit, their runs, or published models' folders or hub names like {EXAMPLE}"
    parser.add_argument("folders", metavar="CHECKPOINT", type=local_path, nargs="*", help=said)
    parser.add_argument(
        "--checkpoint",
        metavar="CHECKPOINT",
        type=local_path,
        action="append",
        default=[],
        help="the same, as an option; repeat for several",
    )
    add_loading_options(parser)
    parser.add_argument(
        "--max_new_tokens", type=int, default=128, help="longest answer, if a request does not say (default: 128)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: any free one (default: 8000)")
    parser.add_argument("--max_batch", type=int, default=8, help="questions answered together (default: 8)")
    parser.add_argument(
        "--max_requests", type=int, default=64, help="requests at a time, more are refused with 429 (default: 64)"
    )
    parser.add_argument(
        "--picture_cache", type=int, default=256, metavar="MB", help="memory for encoded pictures (default: 256)"
    )
    parser.add_argument(
        "--allow_url",
        metavar="HOST",
        action="append",
        default=[],
        help="host that pictures are fetched from; repeat for several (default: none)",
    )
    options = parser.parse_intermixed_args()
    for name, least in (("max_new_tokens", 1), ("max_batch", 1), ("max_requests", 1), ("picture_cache", 0)):
        if (given := getattr(options, name)) < least:
            stop(f"--{name} is {given}: it must be at least {least}")
    if not 0 <= options.port <= 65535:
        stop(f"--port is {options.port}: it must be from 0 to 65535")
    if any("/" in host for host in options.allow_url):
        stop(
            f"--allow_url takes a host like pictures.example.com, not {next(h for h in options.allow_url if '/' in h)}"
        )
    named = list(dict.fromkeys([*options.folders, *options.checkpoint]))
    if not named:
        options.checkpoints = {READER: reader_or_stop()}
        return options
    options.checkpoints = {}
    for each in named:
        if (name := model_name(each)) in options.checkpoints:
            stop(f"two checkpoints would both be called {name}: give one of them by a link with another name")
        options.checkpoints[name] = found_checkpoint(each)
    return options
