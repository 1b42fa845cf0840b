"""Resume a Trainer from a state: weights, optimizer, schedule, loops, data."""

import logging
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import LRSchedulerConfig

from recipes.data.modules import ConversationData, validates
from recipes.data.ranks import Position
from recipes.optimization.optimizer import MuonAdamW
from recipes.states.contents import frozen_sum, restore
from recipes.states.folder import StateError
from recipes.states.ranks import Ranks
from recipes.states.stored import StoredState

logger = logging.getLogger(__name__)


def resume(trainer: pl.Trainer, module: pl.LightningModule, state: StoredState, ranks: Ranks) -> None:
    """Resume the training of `trainer`, which is set up but has not begun, from a state.

    Settings are those of this run: learning rates, schedule, numbers of steps and epochs. Differences that are not
    allowed are refused.

    Raises:
        StateError: on all ranks, if the state is damaged, or belongs to other data, weights or another optimizer.
    """
    state.verify(ranks)
    state.check_complete()
    manifest = state.manifest
    (optimizer,) = trainer.optimizers
    data = conversation_data(trainer)
    position = Position(**manifest["position"])
    _check_settings(manifest, state, trainer, data, position)
    _restore_together(module, optimizer, state, ranks)
    if manifest["precision"] == trainer.precision and manifest["frozen"] != frozen_sum(module.network, ranks):
        raise StateError(
            f"{state.folder}: the frozen weights are not those with which the state was written; "
            "give the checkpoint and the settings with which that run began"
        )
    if manifest["scaler"]:
        trainer.precision_plugin.load_state_dict(manifest["scaler"])
    data.position = _begun_or_next(position, manifest, data, trainer)
    set_progress(trainer, manifest["step"], data, validated=manifest["validated"])
    for config in trainer.lr_scheduler_configs:
        _set_schedule(config, _scheduled_step(trainer, manifest["step"]))
    _tell_what_is_forgotten(trainer)


def _tell_what_is_forgotten(trainer: pl.Trainer) -> None:
    """Name the callbacks that begin anew; a time limit does so on purpose."""
    kept = [each for each in trainer.callbacks if each.state_dict() and not isinstance(each, Timer)]
    if kept and trainer.is_global_zero:
        names = ", ".join(type(each).__name__ for each in kept)
        logger.warning("%s: training states do not hold what callbacks remember, so it begins anew", names)


def conversation_data(trainer: pl.Trainer) -> ConversationData:
    """The Trainer's data module.

    Raises:
        StateError: if it is of another class, which does not track its position.
    """
    data = trainer.datamodule
    if not isinstance(data, ConversationData):
        raise StateError(
            f"{type(data).__name__} does not track its position in an epoch, which a training state needs: derive it "
            "from recipes.data.modules.ConversationData, or switch states off with --states.keep=0"
        )
    return data


def set_progress(trainer: pl.Trainer, step: int, data: ConversationData, *, validated: bool) -> None:
    """Make Lightning's loops continue after `step` optimizer steps, at the position of `data`.

    Lightning's own resuming counts a micro-batch in the middle of an accumulated step, or an epoch that was cut short,
    as done. So its counters are set here, from what was counted at the boundary of a step.

    Args:
        trainer: before its first batch.
        step: optimizer steps done.
        data: data module whose position is set.
        validated: whether a validation due at this step has been done.
    """
    steps_expected = trainer.estimated_stepping_batches  # creates the loader, which starts at the position
    assert steps_expected
    assert data.batches is not None
    assert data.position is not None
    # limit_train_batches may cut an epoch short; a position at its end is behind all samples all the same.
    each_epoch, epoch = min(len(data.batches), int(trainer.num_training_batches)), data.position.epoch
    begun = min(data.batches.begun, each_epoch)
    fit, epochs = trainer.fit_loop, trainer.fit_loop.epoch_loop
    inside = begun > 0
    for progress in (fit.epoch_progress.total, fit.epoch_progress.current):
        progress.ready = progress.started = epoch + inside
        progress.processed = progress.completed = epoch
    for progress, number in (
        (epochs.batch_progress.total, epoch * each_epoch + begun),
        (epochs.batch_progress.current, begun),
    ):
        progress.ready = progress.started = progress.processed = progress.completed = number
    epochs.batch_progress.is_last_batch = begun == each_epoch
    steps = epochs.automatic_optimization.optim_progress.optimizer.step
    steps.total.ready = steps.total.completed = step
    epochs._batches_that_stepped = step - 1
    if not validated:
        # As if the validation had begun: then it is run before the next batch, if it is due.
        again = epochs.val_loop.batch_progress.total
        again.ready = again.started = 1
    fit.restarting = True


def _restore_together(module: pl.LightningModule, optimizer: Any, state: StoredState, ranks: Ranks) -> None:
    """Call `restore`; if it fails on one rank, raise the same error on all ranks."""
    fault = None
    try:
        restore(module.network, optimizer, state)
    except StateError as error:
        fault = str(error)
    faults = [each for each in ranks.gathered(fault) if each is not None]
    if faults:
        raise StateError(faults[0])


def _check_settings(
    manifest: dict[str, Any], state: StoredState, trainer: pl.Trainer, data: ConversationData, position: Position
) -> None:
    wanted = optimizer_name(trainer)
    if wanted != manifest["optimizer"]:
        raise StateError(
            f"{state.folder} was written with the optimizer {manifest['optimizer']}, this run has {wanted}: set "
            f"--model.optimizer={manifest['optimizer']}, or start a new run from its checkpoint with --checkpoint"
        )
    identity, inside = data.identity, 0 < position.samples < manifest["data"]["samples"]
    if inside and identity.samples != manifest["data"]["samples"]:
        raise StateError(
            f"{state.folder} is in the middle of an epoch of {manifest['data']['samples']} samples, the data now has "
            f"{identity.samples}: resume with the same data"
        )
    if inside and identity.fingerprint != manifest["data"]["fingerprint"]:
        raise StateError(
            f"{state.folder} is in the middle of an epoch, and the data has changed (its texts, its order's seed or "
            "its settings): resume with the same data"
        )


def optimizer_name(trainer: pl.Trainer) -> str:
    """The name of the optimizer, as in `--model.optimizer`."""
    return "muon" if isinstance(trainer.optimizers[0], MuonAdamW) else "adamw"


def _begun_or_next(
    position: Position, manifest: dict[str, Any], data: ConversationData, trainer: pl.Trainer
) -> Position:
    """The position, or the start of the next epoch if its epoch has nothing left to do."""
    ended = position.samples >= manifest["data"]["samples"]
    if position.samples and not ended:
        return position
    parts = trainer.world_size * trainer.accumulate_grad_batches
    begin = Position(position.epoch + ended, 0, data.batch_size, parts)
    if ended and not manifest["validated"] and validates(data, trainer):
        return Position(position.epoch, data.identity.samples, data.batch_size, parts)
    return begin


def _scheduled_step(trainer: pl.Trainer, step: int) -> int:
    """The schedule's step: it follows the data, so that both end together even if ranks or batch size change."""
    if trainer.max_epochs in (None, -1) or trainer.estimated_stepping_batches == trainer.max_steps:
        return step
    fit, accumulation = trainer.fit_loop, int(trainer.accumulate_grad_batches)
    each_epoch = -(-int(trainer.num_training_batches) // accumulation)
    inside = -(-int(fit.epoch_loop.batch_progress.current.completed) // accumulation)
    return int(fit.epoch_progress.current.completed) * each_epoch + inside


def _set_schedule(config: LRSchedulerConfig, step: int) -> None:
    scheduler: Any = config.scheduler
    scheduler.last_epoch, scheduler._step_count = step, step + 1
    scheduler._last_lr = [
        rate * share(step) for rate, share in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(scheduler.optimizer.param_groups, scheduler._last_lr, strict=True):
        group["lr"] = rate
