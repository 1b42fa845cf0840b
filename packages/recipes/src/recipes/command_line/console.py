"""Print errors of the commands, and silence libraries."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

PARSERS_WORDS = ("Does not validate against any of the Union subtypes", "Problem with given class_path", "Parser key")
"""Beginnings of the message that jsonargparse wraps around a constructor's error."""
LONGEST_LINE = 1000
BROKEN_PIPE = 141
"""Exit code of a shell for a command that was ended by SIGPIPE."""
INTERRUPTED = 130
"""Exit code of a shell for a command that was ended by Ctrl-C."""
CLASS_PATH = re.compile("Problem with given class_path '(.+?)'")


def stop(message: str, advice: str = "") -> NoReturn:
    """Print what is wrong, and exit with code 2 (wrong usage)."""
    sys.stderr.write(f"error: {_clipped(message)}\n" + (f"{advice}\n" if advice else ""))
    raise SystemExit(2)


def remark(message: str) -> None:
    """Print a remark to standard error; of several processes that torchrun has started, only the first does."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{message}\n")


def _clipped(message: str) -> str:
    """The message without the middle of lines in which a value is as long as its file, and nothing a terminal obeys."""
    plain = ("".join(map(_plain, line)) for line in message.splitlines())
    return "\n".join(
        line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
        for line in plain
    )


def _plain(character: str) -> str:
    return character if character.isprintable() or character == "\t" else character.encode("unicode_escape").decode()


@contextmanager
def short_errors() -> Iterator[None]:
    """Turn errors about unusable input into one message and exit code 1; programming errors keep their traceback.

    If nobody reads the output any more, as after `| head`, the command ends quietly.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes the standard output once more at its end, and would report that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN_PIPE) from None
    except (ValueError, OSError, ImportError) as error:
        if "FOVEAL_TRACEBACK" in os.environ:
            raise
        message = "\n".join([_said(error), *getattr(error, "__notes__", [])])
        sys.stderr.write(f"error: {_clipped(message)}\n(FOVEAL_TRACEBACK=1 in the environment shows where)\n")
        raise SystemExit(1) from error


@contextmanager
def interrupts_end() -> Iterator[None]:
    """Turn Ctrl-C into the exit code of a command that it ends, without a traceback.

    Raises:
        SystemExit: with 130 on an interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


def _said(error: Exception) -> str:
    """The error's message, without the traceback that a loader's worker adds."""
    where = ""
    while str(error).startswith(PARSERS_WORDS) and isinstance(error.__cause__, Exception):
        named = CLASS_PATH.match(str(error))
        error = error.__cause__
        if named and isinstance(error, AttributeError | AssertionError):
            where = f"{named[1]}: "  # an error in the part's code; the message alone does not say where
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    message = where + str(error)
    if not message.startswith("Caught ") or "Original Traceback" not in message:
        return message
    return message.rstrip().splitlines()[-1].partition(": ")[2]


def calm() -> None:
    """Silence routine output of libraries; warnings about the user's own run are kept."""
    # Imported here, so that wrong usage is reported without importing transformers.
    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for noise in (
        ".*does not have many workers.*",
        ".*treespec.*",
        ".*instantiate_classes.*",
        ".*set_vital.*",
        ".*smaller than the logging interval.*",  # a short run; every step is in metrics.csv all the same
        ".*your dataloader is not resumable.*",  # ours resumes from the state
        ".*across ranks is zero.*",  # validation is switched off
    ):
        warnings.filterwarnings("ignore", message=noise)
