"""The command line of training and validation: LightningCLI, made short-spoken and safe."""

import sys
from typing import Any, NoReturn

import torch
from jsonargparse import set_parsing_settings
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from recipes.arguments import UsageError, prepare
from recipes.callbacks import NonFiniteReport, RandomState, SheetSamples
from recipes.checkpoint_io import AtomicCheckpointIO
from recipes.console import calm, short_errors, stop
from recipes.half_precision import HalfWeights
from recipes.module import Finetuning
from recipes.sharding import is_sharded
from recipes.sharding.settings import with_source
from recipes.supported import precision_of

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
        """A module that will be sharded is only shapes at first: no rank has room for all of it."""
        settings = self.config[self.subcommand].as_dict()
        if not is_sharded(settings["trainer"]["strategy"]):
            super().instantiate_classes()
            return
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            super().instantiate_classes()
        module: Finetuning = self._get(self.config_init, "model")
        self.model: Finetuning = with_source(module, settings["model"])

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer of the configuration with what every run needs."""
        trainer = self.config_init[self.subcommand]["trainer"]
        if halves := HalfWeights.of(precision_of(trainer)):
            kwargs["precision"] = None
        self.samples = SheetSamples()
        ours = [RichProgressBar(leave=False), RandomState(), NonFiniteReport(), self.samples]
        plugins = trainer["plugins"]
        given = plugins if isinstance(plugins, list) else [] if plugins is None else [plugins]
        return super().instantiate_trainer(
            callbacks=[*(trainer["callbacks"] or []), *ours], plugins=[*given, *halves, AtomicCheckpointIO()], **kwargs
        )


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
