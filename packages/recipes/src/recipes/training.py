"""What `fit` and `validate` do around the Trainer: controls, checkpoint, pictures, table."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser

from foveal.models import save
from recipes.cli import CommandLine
from recipes.loss_curve import draw_loss_curve
from recipes.module import Finetuning
from recipes.report import print_report
from recipes.sheet import draw_sheet


def scores_of(trainer: pl.Trainer) -> dict[str, float]:
    """The metrics of the latest validation, by their bare names."""
    return {
        name.removeprefix("val/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }


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

    def before_fit(self) -> None:
        fresh = self._get(self.config, "ckpt_path") is None
        self.untrained = self.scores() if self.controls and fresh and self.datamodule.has_validation else {}

    def after_fit(self) -> None:
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        paths: dict[str, Path] = {}
        if self.trainer.is_global_zero:
            paths["checkpoint"] = save(self.model.network, self.folder / "checkpoint")
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
