"""The `fit` command around the Trainer: states, controls, checkpoint, pictures, table."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities import rank_zero_only

from foveal.models.checkpoints.folder import described_parts, described_prompts
from recipes.commands.measuring import MeasuringCommand
from recipes.estimates.room import free_bytes
from recipes.estimates.room_to_fit import check_room_to_fit, device_to_fit
from recipes.module import Finetuning, NonFiniteLossError
from recipes.reports.sheet import draw_sheet
from recipes.reports.table import print_report
from recipes.run.folder import latest_run_folder, run_of
from recipes.run.lock import locked
from recipes.run.log import NAME as LOG
from recipes.run.loss_curve import draw_loss_curve
from recipes.run.rows import METRICS
from recipes.run.saving import base_of_training, save_trained
from recipes.sharding import whole_state
from recipes.states import StateError, StateSettings, TrainingStates, find_state, is_disk_full
from recipes.states.contents import all_finite
from recipes.states.ranks import Ranks
from recipes.trainer.supported import check_supported

WEIGHTS = ("checkpoint", "adapter")


class FitCommand(MeasuringCommand):
    """Train, then save, measure and show the results."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        ours = {"ckpt_path", "weights_only"}
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", *ours}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(StateSettings, "states")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Training state to resume from: its folder, or `last` for the newest one of the run (--run, or else "
            "the latest run of this name). The run continues in its folder.",
        )

    def before_instantiate_classes(self) -> None:
        """Find the state to resume from; refuse what cannot fit on the GPU, before weights are read."""
        settings = {name: self._get(self.config, name).as_dict() for name in ("model", "trainer", "data")}
        check_supported(settings["trainer"])
        self.base = base_of_training(settings["model"]["network"])
        self.state = self._state_to_resume() if rank_zero_only.rank == 0 else None
        check_room_to_fit(settings, free=free_bytes(device_to_fit(settings["trainer"])))

    def run_folder(self) -> Path:
        """The folder of the resumed run, unless another one is asked for.

        Raises:
            StateError: if the state is not in the folder of a run, and no folder is asked for.
        """
        if self.state is None:
            return super().run_folder()
        before, given = run_of(self.state), self._get(self.config, "run")
        if given is None and before is None:
            raise StateError(f"{self.state} is not in the folder of a run: say with --run where this run goes on")
        if before is not None and (given is None or Path(given).resolve() == before):
            return Path(os.path.relpath(before))
        folder = super().run_folder()
        if before is not None and (before / METRICS).is_file():
            shutil.copyfile(before / METRICS, folder / METRICS)
        return folder

    def callbacks(self) -> list[Callback]:
        settings = StateSettings(**self._get(self.config, "states").as_dict())
        self.paths: dict[str, Path] = {}
        self.saved = False
        self.states = TrainingStates(
            settings, self.run, self.signals, self.save, resume_from=self.state, resumed_at=self.csv.resume_from
        )
        return [*super().callbacks(), self.states]

    def _run_subcommand(self, subcommand: str) -> None:
        """As Lightning, and no other training in the run's folder meanwhile: both would remove each other's states.

        Raises:
            ValueError: if there is one.
        """
        folder = os.path.relpath(self.run())
        said = f"another training runs in {folder}: wait until it has ended, or give another --run"
        with locked(self.run() / LOG, said) if self.trainer.is_global_zero else nullcontext():
            super()._run_subcommand(subcommand)

    def before_fit(self) -> None:
        # A part that cannot be written into the checkpoint is refused now, not after the training.
        described_parts(self.model.network)
        described_prompts(self.model.network.processor)
        fresh = self._get(self.config, "ckpt_path") is None
        self.untrained = self.scores() if self.controls and fresh and self.validates else {}

    def fit(self, model: Finetuning, datamodule: pl.LightningDataModule) -> None:
        """Run the Trainer's `fit`, resumed from our state; unless it ends as configured, print how to resume."""
        with self._naming_what_is_kept():
            self.trainer.fit(model, datamodule=datamodule)
        if self.trainer.is_global_zero and not self.saved and not self.trainer.fast_dev_run:
            step = self.trainer.global_step
            if self._was_finished():
                message = (
                    f"nothing is left to train after step {step}: raise --trainer.max_steps or --trainer.max_epochs"
                )
            else:
                message = f"ended early, after step {step}; {self.where_to_go_on()}"
            sys.stderr.write(f"{message}\n")

    def _was_finished(self) -> bool:
        """Whether the resumed state was that of the last step; only then the end comes without saving."""
        steps, epochs = self.trainer.max_steps, self.trainer.max_epochs
        by_steps = 0 <= steps <= self.trainer.global_step
        return by_steps or (epochs is not None and 0 <= epochs <= int(self.trainer.current_epoch))

    def after_fit(self) -> None:
        if not self.trainer.fast_dev_run:
            with self._naming_what_is_kept():
                self._finish()

    def _finish(self) -> None:
        if not self.saved:
            self.save()  # a time limit or a callback ended the run early
        scores: dict[str, dict[str, float]] = {}
        if self.validates:
            scores["trained"] = self.scores()
            rows = self.samples.rows
            if self.controls:
                scores["trained, blank pictures"] = self.blank_scores()
            if self.untrained:
                scores["before training"] = self.untrained
            if self.trainer.is_global_zero:
                self.paths["predictions"] = draw_sheet(rows, self.run() / "predictions.png")
        if self.trainer.is_global_zero:
            if (curve := draw_loss_curve(self.run() / METRICS, self.run() / "loss.png")) is not None:
                self.paths["loss curve"] = curve
            print_report(scores, self.paths)

    def save(self) -> None:
        """Write the trained model; with LoRA only the adapters, and the base if no folder has it yet. On all ranks.

        Raises:
            StateError: if a weight is not finite.
        """
        network, folder = self.model.network, self.run()
        if not all_finite(network, Ranks(self.trainer.global_rank, self.trainer.world_size)):
            raise StateError(f"the weights are not finite after step {self.trainer.global_step}, and are not saved")
        self.saved = True
        state = whole_state(network)
        if not self.trainer.is_global_zero:
            return
        self.paths |= save_trained(
            network,
            checkpoint=folder / "checkpoint",
            adapter=folder / "adapter",
            own_base=folder / "base",
            base=self.base,
            state=state,
        )

    def _state_to_resume(self) -> Path | None:
        wanted: str | None = self._get(self.config, "ckpt_path")
        if wanted != "last":
            return None if wanted is None else find_state(wanted)
        given = self._get(self.config, "run")
        folder = Path(given) if given is not None else latest_run_folder(self.runs, self.typed.name)
        if folder is None:
            raise StateError(f"--ckpt_path last: there is no run in {self.runs / self.typed.name} yet")
        try:
            return find_state(folder)
        except StateError as error:
            anew = (
                "leave it out to start over" if given is None else "to start over, leave it out and give another --run"
            )
            raise StateError(f"--ckpt_path last: {error}; {anew}") from error

    @contextmanager
    def _naming_what_is_kept(self) -> Iterator[None]:
        """Add to an error that ends the run what is saved."""
        try:
            yield
        except (StateError, NonFiniteLossError) as error:
            if not self.trainer.is_global_zero:
                raise SystemExit(1) from error  # all ranks have the same error; the first one reports it
            if isinstance(error, StateError):
                raise
            raise ValueError(
                f"{error} at step {self.trainer.global_step + 1}\n"
                f"the samples of that step: {os.path.relpath(self.run())}/non_finite_loss.rank*.json\n"
                f"{self._newest()}; a lower learning rate or --trainer.gradient_clip_val=1 often helps"
            ) from error
        except Exception as error:
            if is_disk_full(error):
                where = getattr(error, "filename", None) or os.path.relpath(self.run())
                raise StateError(f"disk full: {where}; {self._newest()}") from error
            if self.trainer.global_step:
                weights = [f"the weights are in {path}" for name, path in self.paths.items() if name in WEIGHTS]
                error.add_note("; ".join([*weights, self._newest()]))
            raise

    def _newest(self) -> str:
        newest = self.states.newest
        return "there is no state yet" if newest is None else f"the newest state is {os.path.relpath(newest)}"

    def where_to_go_on(self) -> str:
        newest = self.states.newest
        return "no state yet" if newest is None else f"resume with --ckpt_path {os.path.relpath(newest)}"
