"""A callback from outside Foveal that records what a run does, so that a test can kill it and compare."""

import os
from pathlib import Path

from lightning.pytorch import Callback

from foveal.models import IGNORE_INDEX


class Watching(Callback):
    """Writes a file `seen/N` with a line `epoch key` for every sample of optimizer step N, before the step is done.

    So a step that is repeated after a kill replaces its file, and every step in a state has a file.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        supervised = (batch.labels != IGNORE_INDEX).any(dim=1).tolist()
        self.lines += [
            f"{trainer.current_epoch} {key}" for key, real in zip(batch.keys, supervised, strict=True) if real
        ]

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        Path("seen").mkdir(exist_ok=True)
        Path(f"seen/{trainer.global_step}").write_text("\n".join(self.lines))
        self.lines = []

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        Path(f"validating.{os.getpid()}").touch()
