"""Combine the configured callbacks and loggers with those that every run needs."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger


def as_list(configured: Any) -> list[Any]:
    """A setting that may be None, one object, or several, as a list."""
    if configured is None:
        return []
    return list(configured) if isinstance(configured, list | tuple) else [configured]


def callbacks_with(
    ours: Sequence[Callback], configured: Callback | Sequence[Callback] | None, *, progress_bar: bool
) -> list[Callback]:
    """All callbacks, the configured ones first.

    Args:
        ours: callbacks of every run, including its progress bar.
        configured: `trainer.callbacks`.
        progress_bar: `trainer.enable_progress_bar`; false removes every bar. Otherwise a configured one replaces ours.
    """
    theirs = as_list(configured)
    bars = [callback for callback in [*theirs, *ours] if isinstance(callback, ProgressBar)]
    unwanted = [bar for bar in bars if not progress_bar or bar is not bars[0]]
    return [callback for callback in [*theirs, *ours] if not any(callback is bar for bar in unwanted)]


def loggers_with(ours: Logger, configured: Logger | Sequence[Logger] | bool | None) -> list[Logger]:
    """All loggers, ours first: the first one's folder is the Trainer's `log_dir`.

    Args:
        ours: the logger of every run.
        configured: `trainer.logger`; false: no logger at all.
    """
    if configured is False:
        return []
    theirs: list[Logger] = [] if configured is True else as_list(configured)
    return [ours, *theirs]
