"""Write training states at intervals, on request, and at every end, always at the boundary of a step."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from recipes.data.modules import ConversationData
from recipes.data.ranks import Position
from recipes.module import NonFiniteLossError
from recipes.progress.throughput import SAVING
from recipes.states.contents import all_finite, frozen_sum, pieces
from recipes.states.folder import STATES, StateError, newest_state, rewrite_manifest, step_of
from recipes.states.randomness import random_state, set_random_state
from recipes.states.ranks import Ranks
from recipes.states.resume import conversation_data, optimizer_name, resume
from recipes.states.settings import StateSettings
from recipes.states.signals import STOPPING, Interrupted, Signals
from recipes.states.stored import StoredState
from recipes.states.writing import abandon_later, keep_newest, write_state


@dataclass(frozen=True)
class _Boundary:
    """The moment after an optimizer step; until the next step, only the random generators change."""

    step: int
    position: Position
    random: dict[str, Tensor]


class TrainingStates(Callback):
    """Writes training states into `states` in the run's folder, and resumes from one.

    Args:
        settings: how often states are written.
        folder: returns the run's folder; called once all ranks know it.
        signals: signals that may ask for a state or for the end.
        last_step: called on all ranks at the boundary of the last step, before the validation that may follow.
        resume_from: the state's folder, on the first rank; ignored on other ranks.
        resumed_at: called with the number of steps of the state, once it is loaded.
    """

    def __init__(
        self,
        settings: StateSettings,
        folder: Callable[[], Path],
        signals: Signals,
        last_step: Callable[[], None],
        *,
        resume_from: Path | None = None,
        resumed_at: Callable[[int], None] = lambda _steps: None,
    ) -> None:
        self.settings, self.folder, self.signals, self.last_step = settings, folder, signals, last_step
        self._resume_from, self._resumed_at = resume_from, resumed_at
        self.resumed: StoredState | None = None
        self._ranks = Ranks()
        self._boundary: _Boundary | None = None
        self._written, self._validated = -1, -1
        self._whole, self._pending, self._last = True, False, False
        self._frozen: list[int] | None = None
        self._since = 0.0
        self._data: ConversationData | None = None

    @property
    def states(self) -> Path:
        """The folder of the states."""
        return self.folder() / STATES

    @property
    def newest(self) -> Path | None:
        """The newest complete state of this run; None if there is none yet."""
        return newest_state(self.states)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Tell the other ranks which state the first one has found; they are connected only now."""
        if stage != "fit":
            return
        found = trainer.strategy.broadcast(None if self._resume_from is None else str(self._resume_from))
        self.resumed = None if found is None else StoredState(Path(found))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Also without states: all ranks must agree on where to stop.
        self._ranks = Ranks(trainer.global_rank, trainer.world_size)
        if self.settings.keep == 0 and self.resumed is None:
            return
        self._data = conversation_data(trainer)
        if self.resumed is not None:
            resume(trainer, pl_module, self.resumed, self._ranks)
            self._written = self.resumed.manifest["step"]
            self._validated = self._written if self.resumed.manifest["validated"] else -1
            self._resumed_at(self._written)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the random generators at the last moment, since anything before may draw random numbers."""
        if self.resumed is not None:
            own = self.resumed.names(f"random/{self._ranks.rank}/")
            if own:
                prefix = f"random/{self._ranks.rank}/"
                set_random_state({name: self.resumed.whole(prefix + name) for name in own})
            if self._ranks.rank == 0:
                abandon_later(self.states, self._written)
        self._since = time.monotonic()
        self.signals.deferred = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._at_boundary(trainer, pl_module)
        # Lightning counts a step twice where a resumed run first skips or repeats a validation.
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        self._whole = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._whole:
            return
        self._whole = self._pending = True
        # Now, since Lightning's counters are already those of the next batch when that begins.
        self._last = self._is_last_step(trainer)
        loop = trainer.fit_loop.epoch_loop
        if self._data is not None:
            assert self._data.batches is not None
            position = self._data.batches.after(loop.batch_progress.current.ready)
            if loop._num_ready_batches_reached():
                # Also if limit_train_batches has cut the epoch short.
                position = replace(position, samples=self._data.identity.samples)
            self._boundary = _Boundary(trainer.global_step, position, random_state())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._at_boundary(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.signals.deferred and (stop := self._asked_to_stop()):
            self.write(trainer, pl_module)
            raise Interrupted(stop)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated = trainer.global_step
        newest = self.newest if self._ranks.rank == 0 and self._written == trainer.global_step else None
        if newest is not None and step_of(newest) == trainer.global_step:
            rewrite_manifest(newest, {"validated": True})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._at_boundary(trainer, pl_module)
        self.write(trainer, pl_module)
        self.signals.deferred = False

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write a state on a single process; of several, one can fail alone, and writing a state takes all of them."""
        whole = self._whole or isinstance(exception, NonFiniteLossError)
        if whole and self._ranks.world == 1 and not isinstance(exception, StateError):
            self.write(trainer, pl_module)
        self.signals.deferred = False

    def _at_boundary(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Act after a step, once it is logged, so that every step in a state has its row in the log."""
        if not self._pending:
            return
        self._pending = False
        wanted, due = self._ranks.sums(self.signals.state, self._is_due(trainer.global_step))
        stop = self._asked_to_stop()
        if stop or wanted or due or self._last:
            self.signals.state = False
            self.write(trainer, module)
        if self._last:
            with trainer.profiler.profile(SAVING):
                self.last_step()
        if stop:
            raise Interrupted(stop)

    def write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the state of the latest boundary, unless already written or not finite; on all ranks together."""
        boundary = self._boundary
        if self.settings.keep == 0 or boundary is None or boundary.step == self._written:
            return
        assert self._data is not None
        if not all_finite(module.network, self._ranks):
            return  # it would displace finite states; the next step's loss ends the run
        if self._frozen is None:
            self._frozen = frozen_sum(module.network, self._ranks)
        manifest = {
            "step": boundary.step,
            "position": asdict(boundary.position),
            "validated": self._validated == boundary.step,
            "data": asdict(self._data.identity),
            "optimizer": optimizer_name(trainer),
            "precision": str(trainer.precision),
            "frozen": self._frozen,
            "scaler": trainer.precision_plugin.state_dict(),
            "ranks": self._ranks.world,
        }
        tensors = pieces(module.network, trainer.optimizers[0], boundary.random, self._ranks.rank)
        with trainer.profiler.profile(SAVING):
            write_state(self.states, manifest, tensors, self._ranks)
        self._written, self._since = boundary.step, time.monotonic()
        if self._ranks.rank == 0:
            keep_newest(self.states, self.settings.keep, boundary.step)

    def _is_due(self, step: int) -> bool:
        by_steps = self.settings.every_steps is not None and step % self.settings.every_steps == 0
        minutes = (time.monotonic() - self._since) / 60
        # The first rank's clock decides for all ranks.
        by_time = (
            self.settings.every_minutes is not None and self._ranks.rank == 0 and minutes >= self.settings.every_minutes
        )
        return by_steps or by_time

    @staticmethod
    def _is_last_step(trainer: pl.Trainer) -> bool:
        if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
            return True
        epochs = trainer.max_epochs
        ended = trainer.fit_loop.epoch_loop._num_ready_batches_reached()
        return ended and epochs is not None and epochs != -1 and trainer.current_epoch + 1 >= epochs

    def _asked_to_stop(self) -> int:
        """The signal by which any rank was asked to stop; 0 if none was."""
        asked = self._ranks.sums(*(self.signals.stop == number for number in STOPPING))
        return max((number for number, ranks in zip(STOPPING, asked, strict=True) if ranks), default=0)
