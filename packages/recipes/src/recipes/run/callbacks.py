"""Callbacks that every run has."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from recipes.data.eval_batch import EvalBatch
from recipes.module import NonFiniteLossError
from recipes.reports.sheet import SheetRow
from recipes.run.folder import CONFIG

QUESTION = re.compile(r"#\d+$")
"""The end of a question's key, in a conversation of several."""


class RunFolder(Callback):
    """Tells every rank the run's folder, which the first rank has chosen; calling it returns the folder.

    Args:
        folder: the run's folder, on the first rank; ignored on other ranks.
        save_config: writes the run's configuration into the folder.
    """

    def __init__(self, folder: Path, save_config: Callable[[Path], None]) -> None:
        self._folder, self._save_config = folder, save_config
        self._known, self._saved = False, False

    def __call__(self) -> Path:
        return self._folder

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._known:
            return
        self._folder = Path(trainer.strategy.broadcast(str(self._folder)))
        self._known = True
        if trainer.is_global_zero and not (self._folder / CONFIG).exists():
            self._save()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the configuration only now that the state is accepted; a refused resumption leaves the old one."""
        if trainer.is_global_zero and not self._saved:
            self._save()

    def _save(self) -> None:
        self._save_config(self._folder)
        self._saved = True


class NonFiniteReport(Callback):
    """Writes the samples of a step with non-finite loss to `non_finite_loss.rankN.json` in the run's folder.

    Args:
        folder: called for the folder.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self.folder = folder

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFiniteLossError):
            path = self.folder() / f"non_finite_loss.rank{trainer.global_rank}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            report = {"step": trainer.global_step, "samples": list(exception.keys)}
            path.write_text(json.dumps(report, indent=1), encoding="utf-8")


class SheetSamples(Callback):
    """Keeps samples of the latest validation for the figure of predictions: the first question of each record, of every
    second one the first that names a region, if there is one; and others if there are fewer records.

    Args:
        limit: largest number of samples.

    Attributes:
        step: optimizer step of that validation.
    """

    def __init__(self, limit: int = 12) -> None:
        self.limit = limit
        self.step = -1
        self._first: dict[str, SheetRow] = {}
        self._others: list[SheetRow] = []

    @property
    def rows(self) -> list[SheetRow]:
        """The samples."""
        return [*self._first.values(), *self._others][: self.limit]

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first, self._others, self.step = {}, [], trainer.global_step

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: EvalBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        shown = zip(batch.keys, batch.questions, batch.references, batch.pictures, strict=True)
        # zip is not strict, because fillers have no answer.
        for (key, question, references, picture), prediction in zip(shown, outputs, strict=False):
            # Questions of one conversation are named KEY#1, KEY#2 and so on.
            record = QUESTION.sub("", key)
            if len(self._first) == self.limit and record not in self._first:
                return
            seen = (None, None, None) if picture is None else (picture.picture, picture.box, picture.crop)
            row = SheetRow(seen[0], question, references[0], prediction, *seen[1:])
            if (first := self._first.setdefault(record, row)) is row:
                continue
            if row.crop is not None and first.crop is None and list(self._first).index(record) % 2:
                self._first[record], row = row, first
            if len(self._others) < self.limit:
                self._others.append(row)
