"""The command line of training and validation: LightningCLI, made short-spoken and safe."""

import sys
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from recipes.arguments import UsageError, prepare
from recipes.callbacks import NonFiniteReport, RandomState, SheetSamples
from recipes.checkpoint_io import AtomicCheckpointIO
from recipes.console import calm, short_errors, stop
from recipes.loggers import place_loggers
from recipes.metrics_csv import MetricsCsv
from recipes.module import Finetuning
from recipes.progress import ProgressLine
from recipes.throughput import Throughput
from recipes.trainer_parts import as_list, callbacks_with, loggers_with

LONGEST_ERROR = 8


class ShortSpokenParser(LightningArgumentParser):
    """Says what was wrong in a few lines, not in two hundred lines of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line for line in message.splitlines() if line.strip()]
        shown = lines if len(lines) <= LONGEST_ERROR else [lines[0], "  ...", *lines[-(LONGEST_ERROR - 2) :]]
        text = "\n".join(shown).replace(
            "Add the import path to import_path_allowlist in set_parsing_settings to allow it.",
            "Add --allow_import PACKAGE if you trust it.",
        )
        stop(text, "--help lists the options, --print_config shows the configuration as it was understood")


class CommandLine(LightningCLI):
    """One subcommand of the Trainer on a `Finetuning` and a data module, both from the configuration."""

    def __init__(self) -> None:
        super().__init__(
            Finetuning,
            LightningDataModule,
            subclass_mode_data=True,
            parser_class=ShortSpokenParser,
            seed_everything_default=0,
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": any(argument.startswith("--ckpt_path") for argument in sys.argv)},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def _parse_ckpt_path(self) -> None:
        """Nothing: what a training state says about hyper-parameters must not win over the command line."""

    def instantiate_classes(self) -> None:
        """As Lightning, with all loggers in one folder."""
        trainer = self._get(self.config, "trainer")
        self.run_folder = _new_folder(trainer["logger"])
        trainer["logger"] = place_loggers(trainer["logger"], self.run_folder)
        super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer of the configuration with what every run needs."""
        trainer = self.config_init[self.subcommand]["trainer"]
        self.samples = SheetSamples()
        ours = [ProgressLine(), Throughput(), RandomState(), NonFiniteReport(), self.samples]
        return super().instantiate_trainer(
            callbacks=callbacks_with(
                ours, trainer["callbacks"], progress_bar=trainer["enable_progress_bar"] is not False
            ),
            logger=loggers_with(MetricsCsv(self.run_folder), trainer["logger"]),
            plugins=[*as_list(trainer["plugins"]), AtomicCheckpointIO()],
            default_root_dir=str(self.run_folder),
            **kwargs,
        )


def _new_folder(logger: Any) -> Path:
    """`SAVE_DIR/NAME/version_N` of the first configured CSVLogger, N not taken yet, as Lightning's."""
    csv = [each["init_args"] for each in as_list(logger) if each and each is not True and "CSV" in each["class_path"]]
    runs = Path(csv[0]["save_dir"], csv[0]["name"] or "") if csv else Path("runs")
    numbers = [int(path.name.removeprefix("version_")) for path in runs.glob("version_*")]
    return runs / f"version_{max(numbers, default=-1) + 1}"


def main(command: type[CommandLine], subcommand: str) -> None:
    """Run `command` on what was typed.

    Raises:
        SystemExit: with 2 for wrong usage, with 1 for an input that cannot be used.
    """
    try:
        arguments, allowed = prepare(sys.argv[1:])
    except UsageError as error:
        stop(str(error))
    sys.argv[1:] = [subcommand, *arguments]
    calm()
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=allowed)
    with short_errors():
        command()
