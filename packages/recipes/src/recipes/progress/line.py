"""The progress of a run on one line."""

import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.live import Live
from rich.text import Text

from recipes.progress.words import progress_line

BETWEEN_LINES = 60.0
"""Seconds between two lines if the output is not a terminal."""
BETWEEN_LOOKS = 0.25
"""Seconds between two reads of the metrics, each of which waits for the GPU."""
SHOWN = {"train/loss": "loss", "speed/samples_per_second": "samples/s", "val/anls": "ANLS"}


class ProgressLine(ProgressBar):
    """Shows the progress on one line of any width: step, time left, loss, samples/s, the latest ANLS.

    On a terminal the line is updated in place and removed at the end. Elsewhere a line is printed every minute, after
    every validation, and at the end. It shows the metrics of `SHOWN` that were logged; the time left is estimated from
    the mean step time of this run, including validations.

    Args:
        console: where to print; None: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console()
        self._live: Live | None = None
        self._enabled, self._drawn_at, self._printed = True, -math.inf, ""

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the line."""
        self._console.print(*args, **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began, self._first = time.monotonic(), trainer.global_step
        self._start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due():
            self._show(self._training(trainer))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._start()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._is_due() and not trainer.sanity_checking:
            batches = trainer.num_val_batches[dataloader_idx]
            bar = self._console.is_terminal
            self._show(progress_line(batch_idx + 1, batches, None, {}, width=self._width, what="validating ", bar=bar))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._close()
        elif self._enabled and not trainer.sanity_checking:
            self._show(self._training(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and not self._console.is_terminal:
            self._show(self._training(trainer))
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _start(self) -> None:
        # A file gets its first line after the first interval; a terminal shows something at once.
        self._drawn_at = -math.inf if self._console.is_terminal else time.monotonic()

    @property
    def _width(self) -> int:
        # A terminal wraps a line that fills it.
        return self._console.width - 1

    def _is_due(self) -> bool:
        between = BETWEEN_LOOKS if self._console.is_terminal else BETWEEN_LINES
        return self._enabled and time.monotonic() - self._drawn_at >= between

    def _training(self, trainer: pl.Trainer) -> str:
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        done = step - self._first
        left = (time.monotonic() - self._began) / done * (total - step) if done and math.isfinite(total) else None
        metrics = trainer.callback_metrics
        values = {label: float(metrics[name]) for name, label in SHOWN.items() if name in metrics}
        bar = self._console.is_terminal
        return progress_line(step, total, left, values, width=self._width, what="" if bar else "step ", bar=bar)

    def _show(self, line: str) -> None:
        self._drawn_at = time.monotonic()
        if not self._console.is_terminal:
            if line != self._printed:
                self._console.print(Text(line), soft_wrap=True)
            self._printed = line
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
