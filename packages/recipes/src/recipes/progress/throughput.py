"""How fast a training is, and what it waits for."""

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
    | `speed/samples_per_second` | conversations |
    | `speed/tokens_per_second` | real tokens, visual ones included |
    | `speed/visual_tokens_per_second` | visual tokens |
    | `speed/padding_share` | padding of all positions |
    | `speed/data_wait_share` | time in which the process waited for the loader, of all time |
    | `speed/mfu` | needed FLOP/s (`ModelFlops`) of the card's peak in bfloat16; only where `peak_flops` knows it |

    Each covers the steps since it was last logged. Validating, saving states and what else happens between a batch's
    end and a validation's do not count as time. On a GPU a wait counts also while queued work still runs, so
    `data_wait_share` is an upper bound there.

    Nothing waits for the device but the logging itself: counts are added up where the batch is, and the ranks' are put
    together once, when they are logged.
    """

    def __init__(self) -> None:
        self._peak: float | None = None
        self._flops: ModelFlops | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Operations are counted now, because a network that is sharded can be run by all ranks together only."""
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
        lengths = batch.attention_mask.sum(dim=1)
        self._counts += torch.stack(
            [
                lengths.sum(),
                (batch.input_ids == IMAGE_TOKEN_ID).sum(),
                (batch.labels != IGNORE_INDEX).sum(),
                (lengths * lengths).sum(),
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
    """Time in training, and of it the time in which the loader was waited for.

    It stands in the place of the Trainer's profiler and passes everything on to it: only a profiler is told when
    Lightning asks the loader for a batch, and when it writes a state.

    Args:
        inner: the profiler of the configuration.

    Attributes:
        seconds: of training, up to the end of the latest batch.
        waited: of them in the loader.
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
        """What was since the last one is training."""
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    def forget_since_batch(self) -> None:
        """What was since the last batch is no training."""
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
