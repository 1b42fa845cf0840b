"""The progress of a run on one line."""

import math
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console

from recipes.progress.live_line import LiveLine
from recipes.progress.words import progress_line

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
        self._line = LiveLine(console)
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the line."""
        self._line.console.print(*args, **kwargs)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began, self._first = time.monotonic(), trainer.global_step
        self._line.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._is_due():
            self._line.show(self._training(trainer))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._line.start()

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
            bar = self._line.in_place
            self._line.show(
                progress_line(batch_idx + 1, batches, None, {}, width=self._line.width, what="validating ", bar=bar)
            )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._line.close()
        elif self._enabled and not trainer.sanity_checking:
            self._line.show(self._training(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._enabled and not self._line.in_place:
            self._line.show(self._training(trainer))
        self._line.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._line.close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._line.close()

    def _is_due(self) -> bool:
        return self._enabled and self._line.is_due

    def _training(self, trainer: pl.Trainer) -> str:
        step, total = trainer.global_step, trainer.estimated_stepping_batches
        done = step - self._first
        left = (time.monotonic() - self._began) / done * (total - step) if done and math.isfinite(total) else None
        metrics = trainer.callback_metrics
        values = {label: float(metrics[name]) for name, label in SHOWN.items() if name in metrics}
        bar = self._line.in_place
        return progress_line(step, total, left, values, width=self._line.width, what="" if bar else "step ", bar=bar)
