"""What `fit` and `validate` do around the Trainer: controls, checkpoint, pictures, table."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser

from foveal.models import save
from recipes.cli import CommandLine
from recipes.loss_curve import draw_loss_curve
from recipes.report import print_report
from recipes.sheet import draw_sheet


def scores_of(trainer: pl.Trainer) -> dict[str, float]:
    """The metrics of the latest validation, by their bare names."""
    return {
        name.removeprefix("val/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }


class FitCommand(CommandLine):
    """Train; then measure, save, and show what came out."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--controls",
            type=bool,
            default=False,
            help="Measure also the model before training, and the trained one on blank pictures: what the scores would "
            "be if it could not read.",
        )

    def before_fit(self) -> None:
        wanted = self._get(self.config, "controls") and self._get(self.config, "ckpt_path") is None
        self.untrained = self._scores() if wanted else {}

    def after_fit(self) -> None:
        if self.trainer.fast_dev_run or self.trainer.interrupted:
            return
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
        if self.trainer.is_global_zero:
            checkpoint = save(self.model.network, folder / "checkpoint")
        scores = {"trained": self._scores()}
        rows = self.samples.rows
        if self._get(self.config, "controls"):
            self.model.blank_pictures = True
            scores |= {"trained, blank pictures": self._scores(), "before training": self.untrained}
        if self.trainer.is_global_zero:
            paths = {"checkpoint": checkpoint}
            if rows:
                paths["predictions"] = draw_sheet(rows, folder / "predictions.png")
            if (curve := draw_loss_curve(folder / "metrics.csv", folder / "loss.png")) is not None:
                paths["loss curve"] = curve
            print_report({name: values for name, values in scores.items() if values}, paths)

    def _scores(self) -> dict[str, float]:
        """The validation's metrics; empty where the data has no validation."""
        if not self.datamodule.has_validation:
            return {}
        measured = self.samples.step == self.trainer.global_step > 0 and not self.model.blank_pictures
        if measured:
            return scores_of(self.trainer)
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        return scores_of(self.trainer)


class ValidateCommand(CommandLine):
    """Measure a model and show what it answers."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"validate": {"model", "dataloaders", "datamodule"}}

    def before_validate(self) -> None:
        if not self.datamodule.has_validation:
            raise ValueError("the data has no validation part: give --data.val_path")

    def after_validate(self) -> None:
        if self.trainer.is_global_zero:
            folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
            paths = {"predictions": draw_sheet(self.samples.rows, folder / "predictions.png")}
            print_report({"validation": scores_of(self.trainer)}, paths)
