"""The command line of training and validation: LightningCLI with short messages and restricted imports."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from recipes.command_line.arguments import ALLOWED_IMPORTS, Prepared
from recipes.command_line.configurations import UsageError
from recipes.command_line.console import calm, short_errors, stop
from recipes.command_line.imports import ImportsError, allow_in
from recipes.commands.explanation import explained, shortened, unannotated
from recipes.commands.named_objects import refuse_unmeant
from recipes.commands.parser_limits import limit_parser
from recipes.commands.raising_parser import IncludedError, RaisingParser
from recipes.commands.sharded_module import with_source
from recipes.data.ranks import end_with_parent
from recipes.module import Finetuning
from recipes.progress.line import ProgressLine
from recipes.progress.throughput import Throughput
from recipes.run.callbacks import NonFiniteReport, RunFolder, SheetSamples
from recipes.run.folder import CONFIG, RUNS, new_run_folder
from recipes.run.log import NAME, RunLog, run_log
from recipes.run.loggers import place_loggers
from recipes.run.metrics_csv import MetricsCsv
from recipes.sharding import is_sharded
from recipes.states import Interrupted, Signals
from recipes.trainer.half_precision import HalfWeights
from recipes.trainer.parts import as_list, callbacks_with, loggers_with
from recipes.trainer.supported import precision_of

ADVICE = "--help lists the options, --print_config shows the merged configuration"


class CommandLine(LightningCLI):
    """Run a method of the Trainer on a `Finetuning` and a data module, both from the configuration.

    Args:
        subcommand: the Trainer's method.
        typed: the prepared command line.
        signals: signals that may end the run.
        log: log to be written into the run's folder.

    Attributes:
        run: holds the run's folder.
    """

    model: Finetuning

    def __init__(self, subcommand: str, typed: Prepared, signals: Signals, log: RunLog) -> None:
        self.typed, self.signals, self.log = typed, signals, log
        self._arguments = [subcommand, *typed.arguments]
        super().__init__(
            Finetuning,
            LightningDataModule,
            subclass_mode_data=True,
            parser_class=RaisingParser,
            seed_everything_default=0,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Lightning's parser, for configurations whose `extends` is already resolved."""
        parser: RaisingParser = super().init_parser(**kwargs)
        parser.expanded = frozenset(self.typed.expanded)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run",
            type=str | None,
            default=None,
            help="Folder for all files of the run. Default: the next runs/NAME/version_N, where NAME is that of the "
            "first configuration; --trainer.default_root_dir replaces runs.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the prepared arguments; `sys.argv` stays as typed, since further ranks are started with it.

        Raises:
            SystemExit: with 2, after a message, for what cannot be parsed.
        """
        try:
            self.config = parser.parse_args(self._arguments)
        except IncludedError as error:
            stop(str(error))
        except Exception as error:
            # Any exception: importing a user's module may raise anything.
            if "FOVEAL_TRACEBACK" in os.environ:
                raise
            types = {
                action.dest: (action._typehint, action.required)
                for action in self._subcommand_parsers[self._arguments[0]]._actions
                if hasattr(action, "_typehint")
            }
            reason = explained(self.typed.arguments, types, set(self.typed.allowed))
            if not reason and not isinstance(error, UsageError):
                raise
            stop(reason or shortened(str(error)), ADVICE)
        if reason := unannotated(self.config[self._arguments[0]].as_dict()):
            stop(reason)
        packages = [name for name in self.typed.allowed if name not in ALLOWED_IMPORTS]
        try:
            refuse_unmeant(self.config[self._arguments[0]], packages)
            allow_in(self.config, packages)
        except ImportsError as error:
            stop(str(error))

    def _parse_ckpt_path(self) -> None:
        """Do nothing: hyper-parameters in a training state must not override the command line."""

    def instantiate_classes(self) -> None:
        """As Lightning, with all loggers in the run's folder; a module to be sharded is first built as shapes only."""
        first = rank_zero_only.rank == 0
        # Only the first rank's loggers write; the others learn the folder once they can communicate.
        folder = self.run_folder() if first else Path()
        self.run = RunFolder(folder, self._save_config)
        self.csv = MetricsCsv(folder)
        if first:
            self.log.write_to(folder)
        try:
            trainer = self._get(self.config, "trainer")
            trainer["logger"] = place_loggers(trainer["logger"], folder)
            settings = self.config[self.subcommand].as_dict()
            if is_sharded(settings["trainer"]["strategy"]):
                # No rank has memory for the whole module.
                with torch.random.fork_rng(devices=[]), torch.device("meta"):
                    super().instantiate_classes()
                self.model = with_source(self.model, settings["model"])
            else:
                super().instantiate_classes()
        except BaseException:
            if first and not {path.name for path in folder.iterdir()} - {NAME}:
                (folder / NAME).unlink(missing_ok=True)
                folder.rmdir()
            raise

    def run_folder(self) -> Path:
        """Create the folder of this run.

        Raises:
            ValueError: if it was given and already holds a run.
        """
        given = self._get(self.config, "run")
        if given is None:
            return new_run_folder(self.runs, self.typed.name)
        folder = Path(given)
        if (folder / CONFIG).exists():
            raise ValueError(
                f"{folder} holds a run already: resume it with --ckpt_path last, or choose another folder for --run"
            )
        if folder.is_file():
            raise ValueError(f"--run {folder}: that is a file; give a folder, which is created if needed")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def runs(self) -> Path:
        """The folder of numbered runs, for runs without `--run`."""
        return Path(self._get(self.config, "trainer")["default_root_dir"] or RUNS)

    def callbacks(self) -> list[Callback]:
        """The callbacks that every run has, in the order in which they are called."""
        self.samples = SheetSamples()
        return [self.run, ProgressLine(), Throughput(), NonFiniteReport(self.run), self.samples]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer of the configuration with what every run needs."""
        settings = self.config_init[self.subcommand]["trainer"]
        if halves := HalfWeights.of(precision_of(settings)):
            kwargs["precision"] = None
        kwargs |= {
            "callbacks": callbacks_with(
                self.callbacks(), settings["callbacks"], progress_bar=settings["enable_progress_bar"] is not False
            ),
            "logger": loggers_with(self.csv, settings["logger"]),
            "plugins": [*as_list(settings["plugins"]), *halves],
            # Lightning's states resume inexactly; TrainingStates replaces them.
            "enable_checkpointing": False,
            # It would divide the samples among the ranks again, after our samplers, and shuffle the curriculum.
            "use_distributed_sampler": False,
        }
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except TypeError as error:
            raise MisconfigurationException(str(error)) from error
        # We handle signals: Lightning's handlers end a run in the middle of a step, with exit code 0.
        trainer._signal_connector.register_signal_handlers = lambda: None
        return trainer

    def where_to_go_on(self) -> str:
        """How to resume after a signal has ended the run; empty if there is nothing to resume."""
        return ""

    def _run_subcommand(self, subcommand: str) -> None:
        try:
            super()._run_subcommand(subcommand)
        except Interrupted as interrupted:
            if not self.trainer.is_global_zero:
                # Lightning's launcher would kill the first rank if another one exited with an error code.
                raise SystemExit(0) from interrupted
            advice = self.where_to_go_on()
            message = f"stopped by {interrupted} after step {self.trainer.global_step}"
            sys.stderr.write(f"{message}; {advice}\n" if advice else f"{message}\n")
            raise SystemExit(interrupted.exit_code) from interrupted

    def _save_config(self, folder: Path) -> None:
        parser = self._parser(self.subcommand)
        parser.save(self._get_config(), folder / CONFIG, skip_unset=False, overwrite=True, multifile=False)

    def _get_config(self) -> Any:
        return self.config[str(self.subcommand)]


def run(command: type[CommandLine], subcommand: str, typed: Prepared) -> None:
    """Run `command` on a prepared command line.

    Raises:
        SystemExit: with 2 for wrong usage, 1 for unusable input, 128 + its number after a signal.
    """
    calm()
    if "LOCAL_RANK" in os.environ:
        end_with_parent()  # not the first rank: it would wait forever for a first rank that has died
    limit_parser(typed.allowed)
    first = rank_zero_only.rank == 0
    if typed.remark and first:
        sys.stderr.write(f"{typed.remark}\n")
    with short_errors(), run_log() as log, Signals(loud=first) as signals:
        try:
            command(subcommand, typed, signals, log)
        except Interrupted as interrupted:
            sys.stderr.write(f"stopped by {interrupted} before the run began\n")
            raise SystemExit(interrupted.exit_code) from interrupted
        except MisconfigurationException as error:
            raise ValueError(f"the Trainer refuses its settings: {error}") from error
