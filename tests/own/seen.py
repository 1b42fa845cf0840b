"""A callback from outside Foveal that records which samples were trained on, and ends the run when told."""

import os
import signal
from pathlib import Path

import torch
from lightning.pytorch import Callback

from foveal.models import IGNORE_INDEX


class Seen(Callback):
    """Appends a line `epoch key` for every sample with a supervised token to `seen.rankN.txt`, once its step is done.

    Args:
        stop_at: optimizer steps after which SIGTERM is sent to this process.
        inside: send it in the middle of the step that follows, where gradients are accumulated.
    """

    def __init__(self, stop_at: list[int] | None = None, inside: bool = False) -> None:
        self.stop_at, self.inside = stop_at or [], inside
        self.lines: list[str] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        first = torch.zeros_like(batch.attention_mask)
        first[:, 0] = True
        if batch.position_ids is not None:
            first = batch.attention_mask & (batch.position_ids == 0)
        numbers = (first.flatten().cumsum(0) - 1)[(batch.labels != IGNORE_INDEX).flatten()]
        keys = [batch.keys[number] for number in numbers.unique().tolist()]
        self.lines += [f"{trainer.current_epoch} {key}\n" for key in keys]
        loop = trainer.fit_loop.epoch_loop
        if not loop._should_accumulate():
            with Path(f"seen.rank{trainer.global_rank}.txt").open("a") as stream:
                stream.writelines(self.lines)
            self.lines = []
        if trainer.global_step in self.stop_at and loop._should_accumulate() == self.inside:
            self.stop_at = []
            os.kill(os.getpid(), signal.SIGTERM)
