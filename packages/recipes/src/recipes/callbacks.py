"""What happens around the training loop."""

import json
import random
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from recipes.data.eval_batch import EvalBatch
from recipes.module import NonFiniteLossError
from recipes.sheet import SheetRow


class RandomState(Callback):
    """Keeps the random number generators in the training state: a resumed run draws what the first would have."""

    def state_dict(self) -> dict[str, Any]:
        kind, keys, *rest = np.random.get_state(legacy=True)
        return {
            "python": random.getstate(),
            "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set at the last moment before training: what runs until then may draw numbers of its own."""
        saved = self.__dict__.pop("_saved", None)
        if saved is None:
            return
        version, words, gauss = saved["python"]
        random.setstate((version, tuple(words), gauss))
        kind, keys, *rest = saved["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(saved["torch"].cpu())
        if saved["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in saved["cuda"]])


class NonFiniteReport(Callback):
    """Writes the samples of the batch whose loss was not finite to `non_finite_loss.json` in the run's folder."""

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, NonFiniteLossError) and trainer.log_dir is not None:
            path = Path(trainer.log_dir) / f"non_finite_loss.rank{trainer.global_rank}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            report = {"step": trainer.global_step, "samples": list(exception.keys)}
            path.write_text(json.dumps(report, indent=1), encoding="utf-8")


class SheetSamples(Callback):
    """Keeps the first samples of the latest validation for the sheet of predictions.

    Args:
        limit: how many.

    Attributes:
        rows: the samples.
        step: optimizer step of that validation.
    """

    def __init__(self, limit: int = 12) -> None:
        self.limit = limit
        self.rows: list[SheetRow] = []
        self.step = -1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows, self.step = [], trainer.global_step

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: EvalBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for question, references, prediction, picture in zip(
            batch.questions, batch.references, outputs, batch.pictures, strict=True
        ):
            if len(self.rows) < self.limit:
                self.rows.append(SheetRow(picture, question, references[0], prediction))
