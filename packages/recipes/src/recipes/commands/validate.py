"""The `validate` command around the Trainer: controls, pictures, table."""

import lightning.pytorch as pl
from lightning.pytorch.cli import ArgsType, LightningArgumentParser

from recipes.command_line.spelling import settings_of
from recipes.commands.measuring import MeasuringCommand, scores_of
from recipes.module import Finetuning
from recipes.reports.sheet import draw_sheet
from recipes.reports.table import print_report


class ValidateCommand(MeasuringCommand):
    """Measure a model and show its answers."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"validate": {"model", "dataloaders", "datamodule", "verbose", "ckpt_path", "weights_only"}}

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Nothing is learnt: the data to validate on stands in for that to learn from, which its class asks for."""
        given = {setting.place: setting.value for setting in settings_of(self._arguments)}
        data = {name: given.get(("data", name)) for name in ("path", "val_path", "val_images")}
        if data["val_path"] is not None and data["path"] is None:
            self._arguments.append(f"--data.path={data['val_path']}")
            if data["val_images"] is not None:
                self._arguments.append(f"--data.images={data['val_images']}")
        super().parse_arguments(parser, args)

    def validate(self, model: Finetuning, datamodule: pl.LightningDataModule) -> None:
        """Run the Trainer's `validate`, without its own table."""
        self.trainer.validate(model, datamodule=datamodule, verbose=False)

    def before_validate(self) -> None:
        if not self.datamodule.has_validation:
            raise ValueError("the data has no validation part: give --data.val_path")
        if not self.validates:
            raise ValueError("--trainer.limit_val_batches is 0: nothing is left to validate on")

    def after_validate(self) -> None:
        scores, rows = {"validation": scores_of(self.trainer)}, self.samples.rows
        if self.controls:
            scores["blank pictures"] = self.blank_scores()
        if self.trainer.is_global_zero:
            print_report(scores, {"predictions": draw_sheet(rows, self.run() / "predictions.png")})
