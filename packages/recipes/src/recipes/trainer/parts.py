"""What a configuration gives the Trainer, together with what every run needs."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger


def as_list(configured: Any) -> list[Any]:
    """The objects of a setting that may be missing, one object, or several."""
    if configured is None:
        return []
    return list(configured) if isinstance(configured, list | tuple) else [configured]


def callbacks_with(
    ours: Sequence[Callback], configured: Callback | Sequence[Callback] | None, *, progress_bar: bool
) -> list[Callback]:
    """All callbacks, the configured ones first.

    Args:
        ours: what every run has, its progress bar among them.
        configured: `trainer.callbacks`.
        progress_bar: `trainer.enable_progress_bar`; false: no bar is left, whoever asked for it. Otherwise a configured
            one takes the place of ours.
    """
    theirs = as_list(configured)
    bars = [callback for callback in [*theirs, *ours] if isinstance(callback, ProgressBar)]
    unwanted = [bar for bar in bars if not progress_bar or bar is not bars[0]]
    return [callback for callback in [*theirs, *ours] if not any(callback is bar for bar in unwanted)]


def loggers_with(ours: Logger, configured: Logger | Sequence[Logger] | bool | None) -> list[Logger]:
    """All loggers, ours first: the first one's folder is the Trainer's `log_dir`.

    Args:
        ours: writes what every run leaves.
        configured: `trainer.logger`; false: none at all.
    """
    if configured is False:
        return []
    theirs: list[Logger] = [] if configured is True else as_list(configured)
    return [ours, *theirs]
