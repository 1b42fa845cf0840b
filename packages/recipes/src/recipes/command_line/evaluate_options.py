"""Options of `evaluate`, parsed before models are imported so that errors appear at once."""

import argparse
from pathlib import Path

from recipes.command_line.benchmarks import path_of
from recipes.command_line.configurations import UsageError
from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.model_options import add_answering_options, add_checkpoint, read_checkpoint
from recipes.command_line.option_parser import OptionParser
from recipes.command_line.sources import literal


def evaluate_options() -> argparse.Namespace:
    """Parse the options of `evaluate`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.evaluate",
        usage="%(prog)s CHECKPOINT --benchmark NAME --data FOLDER [options]",
        description="Ask a saved model the questions of a benchmark, score the answers, and show them in a page. "
        "A second start with the same options goes on where the first was ended.",
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--benchmark",
        required=True,
        metavar="NAME",
        help="such as docvqa or pages; a name that is not known is answered with all of them; or a YAML of your own "
        "(docs/evaluation.md)",
    )
    parser.add_argument("--data", metavar="FOLDER", type=local_path, help="its files, as its authors publish them")
    parser.add_argument("--output", metavar="FOLDER", type=local_path, help="default: evaluations/BENCHMARK")
    parser.add_argument(
        "--prompts",
        choices=literal("recipes.benchmarks.benchmark", "Prompts"),
        default="llava",
        help="whose prompts and lengths: LLaVA-1.5's or lmms-eval's (default: llava)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions")
    parser.add_argument("--batch_size", type=int, default=8, help="questions answered together (default: 8)")
    parser.add_argument("--frames", type=int, help="frames of a video (default: the model's, or 8 if it has none)")
    parser.add_argument(
        "--explain", type=int, default=0, metavar="N", help="show where it looked for the N worst answers"
    )
    parser.add_argument(
        "--answers",
        metavar="FILE",
        type=local_path,
        help="score these, ours or in LLaVA's format, without asking a model",
    )
    parser.add_argument(
        "--on_bad_sample",
        choices=literal("recipes.data.bad_samples", "Policy"),
        default="raise",
        help="skip: questions that cannot be asked count as missing, are named, and exit with 1 (default: raise)",
    )
    add_answering_options(parser, longest="the benchmark's")
    options = parser.parse_intermixed_args()
    for name in ("limit", "batch_size", "frames", "max_new_tokens"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            stop(f"--{name} is {getattr(options, name)}: it must be at least 1")
    if options.explain < 0:
        stop(f"--explain is {options.explain}: it must be at least 0")
    try:
        options.benchmark = path_of(options.benchmark)
    except UsageError as error:
        stop(str(error))
    options.output = options.output or Path("evaluations") / options.benchmark.stem
    if options.answers is None:
        read_checkpoint(options)
    elif options.checkpoint is not None or options.folder is not None:
        stop("--answers are scored without a model: leave the checkpoint out")
    elif options.explain:
        stop("--explain needs the model that has answered, so it does not go with --answers")
    return options
