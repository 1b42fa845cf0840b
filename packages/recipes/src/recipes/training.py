"""What `fit` and `validate` do around the Trainer: controls, checkpoint, pictures, table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from foveal.models import save
from foveal.models.adapter_folder import is_adapter, save_adapter
from foveal.models.lora import base_state, has_lora
from recipes.cli import CommandLine
from recipes.loss_curve import draw_loss_curve
from recipes.module import Finetuning
from recipes.report import print_report
from recipes.room import free_bytes
from recipes.room_to_fit import check_room_to_fit, device_to_fit
from recipes.sharding import whole_state
from recipes.sheet import draw_sheet
from recipes.supported import check_supported


def scores_of(trainer: pl.Trainer) -> dict[str, float]:
    """The metrics of the latest validation, by their bare names."""
    return {
        name.removeprefix("val/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }


def checkpoint_of(network: Mapping[str, Any]) -> str | None:
    """The checkpoint that a network's settings open; None: they put the network together from its parts."""
    if network["class_path"] not in ("foveal.models.load", "foveal.models.opening.load"):
        return None
    folder: str = network["init_args"]["folder"]
    return folder


class MeasuringCommand(CommandLine):
    """What fitting and validating share: scores, with controls if wanted."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--controls",
            type=bool,
            default=False,
            help="Measure also on blank pictures, and in a training the model as it was before: what the scores would "
            "be if it could not read.",
        )

    @property
    def controls(self) -> bool:
        """Whether controls are wanted."""
        return bool(self._get(self.config, "controls"))

    def scores(self) -> dict[str, float]:
        """The validation's metrics, measured unless the latest validation was of these very weights."""
        if self.samples.step != self.trainer.global_step or self.trainer.global_step == 0:
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        return scores_of(self.trainer)

    def blank_scores(self) -> dict[str, float]:
        """The validation's metrics where all pictures are white."""
        self.model.blank_pictures = True
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        self.model.blank_pictures = False
        return scores_of(self.trainer)

    @property
    def folder(self) -> Path:
        """Where the run's files are."""
        return Path(self.trainer.log_dir or self.trainer.default_root_dir)


class FitCommand(MeasuringCommand):
    """Train; then save, measure, and show what came out."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def before_instantiate_classes(self) -> None:
        """Refuse a training that cannot fit on its GPU, before weights are read."""
        settings = {name: self._get(self.config, name).as_dict() for name in ("model", "trainer", "data")}
        check_supported(settings["trainer"])
        self.base = checkpoint_of(settings["model"]["network"])
        if self.base is not None and is_adapter(self.base):
            raise ValueError(
                f"{self.base} holds adapters: merge them into their base first, as in python -m tools.merge "
                f"{self.base} MERGED"
            )
        check_room_to_fit(settings, free=free_bytes(device_to_fit(settings["trainer"])))

    def before_fit(self) -> None:
        fresh = self._get(self.config, "ckpt_path") is None
        self.untrained = self.scores() if self.controls and fresh and self.datamodule.has_validation else {}

    def after_fit(self) -> None:
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        paths: dict[str, Path] = {}
        state = whole_state(self.model.network)
        if self.trainer.is_global_zero:
            paths |= self.save(state)
        scores: dict[str, dict[str, float]] = {}
        if self.datamodule.has_validation:
            scores["trained"] = self.scores()
            rows = self.samples.rows
            if self.controls:
                scores["trained, blank pictures"] = self.blank_scores()
            if self.untrained:
                scores["before training"] = self.untrained
            if self.trainer.is_global_zero:
                paths["predictions"] = draw_sheet(rows, self.folder / "predictions.png")
        if self.trainer.is_global_zero:
            if (curve := draw_loss_curve(self.folder / "metrics.csv", self.folder / "loss.png")) is not None:
                paths["loss curve"] = curve
            print_report(scores, paths)

    def save(self, state: Mapping[str, Tensor] | None) -> dict[str, Path]:
        """Write what was trained; with LoRA only that, and its base too if it is in no folder yet.

        Args:
            state: as `whole_state` gives it on the first rank.
        """
        network = self.model.network
        if not has_lora(network.language_model):
            return {"checkpoint": save(network, self.folder / "checkpoint", state=state)}
        paths: dict[str, Path] = {}
        if self.base is None:
            whole = network.state_dict() if state is None else state
            paths["base"] = save(network, self.folder / "base", state=base_state(whole))
        base = paths["base"] if self.base is None else self.base
        paths["adapter"] = save_adapter(network, self.folder / "adapter", base=base, state=state)
        return paths


class ValidateCommand(MeasuringCommand):
    """Measure a model and show what it answers."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"validate": {"model", "dataloaders", "datamodule", "verbose"}}

    def validate(
        self,
        model: Finetuning,
        datamodule: pl.LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """The Trainer's, without its own table."""
        self.trainer.validate(
            model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=weights_only, verbose=False
        )

    def before_validate(self) -> None:
        if not self.datamodule.has_validation:
            raise ValueError("the data has no validation part: give --data.val_path")

    def after_validate(self) -> None:
        scores, rows = {"validation": scores_of(self.trainer)}, self.samples.rows
        if self.controls:
            scores["blank pictures"] = self.blank_scores()
        if self.trainer.is_global_zero:
            print_report(scores, {"predictions": draw_sheet(rows, self.folder / "predictions.png")})
