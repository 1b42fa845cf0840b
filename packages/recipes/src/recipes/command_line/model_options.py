"""Options of commands on one model: which one, how it is opened, and how it answers."""

import argparse
from pathlib import Path

from recipes.command_line.checkpoints import EXAMPLE, checkpoint_in, packaged_reader
from recipes.command_line.configurations import UsageError
from recipes.command_line.console import remark, stop
from recipes.command_line.imports import package
from recipes.command_line.local_paths import local_path
from recipes.command_line.sources import literal

GIVE = f"give the model, as the first argument or with --checkpoint: a folder, a run, or a hub name like {EXAMPLE}"
NO_MODEL = "no model is given: foveal-reader is used, which reads printed lines (docs/reader.md)"


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the model, as the first argument and as an option; `read_checkpoint` makes one of them."""
    said = f"folder saved by recipes.fit, its run, or a published model's folder or hub name like {EXAMPLE}"
    parser.add_argument("folder", metavar="CHECKPOINT", type=local_path, nargs="?", help=said)
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", type=local_path, help="the same, as an option")


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add the options for a question about pictures."""
    parser.add_argument(
        "--image",
        type=local_path,
        nargs="+",
        action="extend",
        metavar="FILE",
        default=[],
        help="pictures, also a.pdf#page=3",
    )
    parser.add_argument("--question", help="the question; <image> in it places the pictures")


def add_output(parser: argparse.ArgumentParser, said: str) -> None:
    """Add the second argument of a command that writes a folder; `read_output` reads it."""
    parser.add_argument("output", metavar="OUT", type=local_path, nargs="?", help=said)


def read_output(options: argparse.Namespace) -> None:
    """Set `output`, which is the first argument where the model is an option; then as `read_checkpoint`.

    Raises:
        SystemExit: with 2 if it was not given, or as for `read_checkpoint`.
    """
    if options.checkpoint is not None and options.output is None:
        options.folder, options.output = None, options.folder
    if options.output is None:
        stop(GIVE if options.folder is None else "the new folder OUT is missing", "--help lists the options")
    read_checkpoint(options)


def read_checkpoint(options: argparse.Namespace) -> None:
    """Set `checkpoint`; if it is in a run, say so on standard error.

    Raises:
        SystemExit: with 2 if it was not given, was given twice, or is a run without one.
    """
    given: set[Path] = {each for each in (options.folder, options.checkpoint) if each is not None}
    if not given:
        stop(GIVE, "--help lists the options")
    if len(given) > 1:
        stop(f"two models are given, {options.folder} and --checkpoint {options.checkpoint}: give one")
    (named,) = given
    options.checkpoint = found_checkpoint(named)


def read_checkpoint_or_reader(options: argparse.Namespace) -> None:
    """As `read_checkpoint`; if no model was given, use the packaged reader and say so on standard error.

    Raises:
        SystemExit: with 2 if there is no packaged reader, or as for `read_checkpoint`.
    """
    if options.folder is None and options.checkpoint is None:
        options.checkpoint = reader_or_stop()
    else:
        read_checkpoint(options)


def reader_or_stop() -> Path:
    """The packaged reader, for want of a model; says so on standard error.

    Raises:
        SystemExit: with 2 if it is not installed.
    """
    packaged = packaged_reader()
    if packaged is None:
        stop(GIVE, "or install foveal-reader; --help lists the options")
    remark(NO_MODEL)
    return packaged


def found_checkpoint(named: Path) -> Path:
    """The checkpoint that was named; if it is in a run, say so on standard error.

    Raises:
        SystemExit: with 2 if it is a run without one.
    """
    try:
        found = checkpoint_in(named)
    except UsageError as error:
        stop(str(error))
    if found not in (named, packaged_reader()):
        remark(f"{named} is a run: its {found.name} is used")
    return found


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for opening checkpoints that do not describe everything, shared by all commands."""
    templates = literal("foveal.models.prompts.template_texts", "TemplateName")
    parser.add_argument("--template", choices=templates, help="prompt template (default: the checkpoint's)")
    parser.add_argument("--encoder", help="folder or hub name of the image tower, if the checkpoint has none")
    add_allow_import(parser)


def add_allow_import(parser: argparse.ArgumentParser, what: str = "the checkpoint may import classes from") -> None:
    """Add the option that names packages whose code may run."""
    parser.add_argument(
        "--allow_import",
        metavar="PACKAGE",
        type=package,
        action="append",
        default=[],
        help=f"package that {what}; repeat for several",
    )


def add_loading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for opening a checkpoint that answers, and for the device on which it does."""
    add_reading_options(parser)
    parser.add_argument("--base", type=local_path, help="the base of adapters (default: where it was in training)")
    plans = literal("foveal.models.views.named", "PlanName")
    parser.add_argument("--plan", choices=plans, help="variant of the checkpoint's view plan (default: its own)")
    parser.add_argument(
        "--quantize",
        choices=literal("foveal.models.language_models.quantize", "Kind"),
        help="load the decoder in 4 or 8 bits (default: as it was saved)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the GPU if there is one)")


def add_answering_options(parser: argparse.ArgumentParser, *, longest: int | str = 128) -> None:
    """Add the options for answering, shared by all commands that answer in a terminal or into a file.

    Args:
        parser: gets the options.
        longest: longest answer in tokens, if the option is not given; in words, if it is found later.
    """
    add_loading_options(parser)
    parser.add_argument(
        "--max_new_tokens",
        type=int,
        metavar="N",
        default=longest if isinstance(longest, int) else None,
        help=f"longest answer, in tokens (default: {longest})",
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest answer; above 0: sampling")
    parser.add_argument(
        "--cuda_graphs",
        action="store_true",
        help="launch all kernels of a decoding step at once, where possible",
    )
