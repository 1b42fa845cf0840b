"""What `fit` and `validate` share: scores, including those of controls."""

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser

from recipes.commands.lightning_cli import CommandLine
from recipes.data.modules import validates


def scores_of(trainer: pl.Trainer, group: str = "val") -> dict[str, float]:
    """The metrics of the latest validation, by their bare names.

    Args:
        trainer: the Trainer that validated.
        group: prefix of their names: `val`, or `blank` for those on blank pictures.
    """
    start, metrics = f"{group}/", trainer.callback_metrics
    return {name.removeprefix(start): float(metrics[name]) for name in metrics if name.startswith(start)}


class MeasuringCommand(CommandLine):
    """Base of the commands that measure: scores, with controls if wanted."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--controls",
            type=bool,
            default=False,
            help="Also measure on blank pictures and, in training, the model before training: the scores without "
            "being able to read.",
        )

    @property
    def controls(self) -> bool:
        """Whether controls are wanted."""
        return bool(self._get(self.config, "controls"))

    @property
    def validates(self) -> bool:
        """Whether there is validation data, and the Trainer's options leave some of it."""
        return validates(self.datamodule, self.trainer)

    def scores(self) -> dict[str, float]:
        """The validation metrics; measured unless the latest validation already used these weights."""
        if self.samples.step != self.trainer.global_step or self.trainer.global_step == 0:
            self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        return scores_of(self.trainer)

    def blank_scores(self) -> dict[str, float]:
        """The validation metrics with all pictures white."""
        self.model.blank_pictures = True
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        self.model.blank_pictures = False
        return scores_of(self.trainer, "blank")
