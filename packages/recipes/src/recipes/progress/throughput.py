"""Throughput of a training, and the time it waits for data."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler

from foveal.models import Batch
from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from recipes.progress.model_flops import ModelFlops, model_flops
from recipes.progress.peak_flops import peak_flops

FETCHING = "[_TrainingEpochLoop].train_dataloader_next"
SAVING = "save_checkpoint"


class Throughput(Callback):
    """Logs the speed of a training every `trainer.log_every_n_steps` optimizer steps, over all ranks.

    | name | what it is |
    |---|---|
    | `speed/samples_per_second` | conversations per second |
    | `speed/tokens_per_second` | real tokens per second, visual ones included |
    | `speed/visual_tokens_per_second` | visual tokens per second |
    | `speed/padding_share` | share of all positions that is padding |
    | `speed/data_wait_share` | share of the time spent waiting for the loader |
    | `speed/mfu` | required FLOP/s (`ModelFlops`) as a share of the card's bfloat16 peak, if `peak_flops` knows it |

    Each value covers the steps since it was last logged. Validation, saving states and anything else between the end of
    a batch and the end of a validation are excluded from the time. On a GPU, waiting also counts while queued work is
    still running, so `data_wait_share` is an upper bound there.

    Only the logging itself waits for the device: counts are accumulated on the batch's device, and summed over the
    ranks once, when they are logged.
    """

    def __init__(self) -> None:
        self._peak: float | None = None
        self._flops: ModelFlops | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Count operations now, because a sharded network can only be run by all ranks together."""
        device = trainer.strategy.root_device
        if device.type == "cuda" and self._peak is None:
            self._peak = peak_flops(torch.cuda.get_device_name(device))
            self._flops = model_flops(pl_module.network) if self._peak else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        device = trainer.strategy.root_device
        self._clock = TrainingClock(trainer.profiler)
        trainer.profiler = self._clock
        self._logged_at = trainer.global_step
        self._restart(device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self._clock.batch_ended()
        self._samples += len(batch.keys)
        self._positions += batch.input_ids.numel()
        self._pixels += sum(view.shape[-2] * view.shape[-1] for view in batch.views)
        self._counts += torch.stack(
            [
                batch.attention_mask.sum(),
                (batch.input_ids == IMAGE_TOKEN_ID).sum(),
                (batch.labels != IGNORE_INDEX).sum(),
                # Squared lengths, as 1 + 3 + 5 ... over each sample.
                ((2 * batch.within + 1) * batch.attention_mask).sum(),
            ]
        )
        step = trainer.global_step
        if step != self._logged_at and step % max(1, trainer.log_every_n_steps) == 0:
            self._logged_at = step
            pl_module.log_dict(self._measured(trainer), batch_size=len(batch.keys))
            self._restart(trainer.strategy.root_device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._clock.forget_since_batch()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._put_back(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._put_back(trainer)

    def _measured(self, trainer: pl.Trainer) -> dict[str, float]:
        own = [self._samples, self._positions, self._pixels, self._clock.seconds, self._clock.waited]
        message = torch.cat([self._counts.float(), torch.tensor(own, device=self._counts.device)])
        summed = trainer.strategy.reduce(message, reduce_op="sum").tolist()
        tokens, visual, supervised, squares, samples, positions, pixels, seconds, waited = summed
        mean_seconds = seconds / trainer.world_size
        measured = {
            "samples_per_second": samples / mean_seconds,
            "tokens_per_second": tokens / mean_seconds,
            "visual_tokens_per_second": visual / mean_seconds,
            "padding_share": 1 - tokens / positions,
            "data_wait_share": waited / seconds,
        }
        if self._peak is not None and self._flops is not None:
            needed = self._flops.step(tokens=tokens, supervised=supervised, squares=squares, pixels=pixels)
            measured["mfu"] = needed / (seconds * self._peak)
        return {f"speed/{name}": value for name, value in measured.items()}

    def _restart(self, device: torch.device) -> None:
        self._samples = self._positions = self._pixels = 0
        self._counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._clock.restart()

    def _put_back(self, trainer: pl.Trainer) -> None:
        if isinstance(trainer.profiler, TrainingClock):
            trainer.profiler = trainer.profiler.inner


class TrainingClock(Profiler):
    """Measures the time spent in training, and the part of it spent waiting for the loader.

    It replaces the Trainer's profiler and forwards everything to it: only a profiler is told when Lightning asks the
    loader for a batch, and when it writes a state.

    Args:
        inner: the configured profiler.

    Attributes:
        seconds: seconds in training, up to the end of the latest batch.
        waited: seconds of these spent waiting for the loader.
    """

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.restart()
        self._since = time.perf_counter()

    def restart(self) -> None:
        """Count from the end of the latest batch."""
        self.seconds = self.waited = 0.0

    def batch_ended(self) -> None:
        """Count the time since the last batch as training."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    def forget_since_batch(self) -> None:
        """Do not count the time since the last batch as training."""
        self._since = time.perf_counter()

    def start(self, action_name: str) -> None:
        if action_name in (FETCHING, SAVING):
            self._began = time.perf_counter()
        self.inner.start(action_name)

    def stop(self, action_name: str) -> None:
        self.inner.stop(action_name)
        if action_name == FETCHING:
            self.waited += time.perf_counter() - self._began
        elif action_name == SAVING:
            self._since += time.perf_counter() - self._began

    def summary(self) -> str:
        return str(self.inner.summary())

    def describe(self) -> None:
        self.inner.describe()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self.inner.setup(stage, local_rank, log_dir)

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)
