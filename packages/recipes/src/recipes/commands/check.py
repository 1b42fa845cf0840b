"""The `check` command: everything in the data that could end or spoil a training, before it begins."""

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from foveal.models import Processor
from recipes.commands.fit import FitCommand
from recipes.commands.named_objects import named_object
from recipes.commands.sharded_module import instantiated
from recipes.data.contents import read_contents
from recipes.data.index.stored import IndexedRecords
from recipes.data.lengths import measure
from recipes.data.llava import LlavaData
from recipes.data.mixture import MixedRecords, open_data
from recipes.data.records import Records
from recipes.module import Finetuning
from recipes.reports.preflight import FileReport, draw_lengths, print_reports
from recipes.reports.table import print_report

CHECKS = "checks"
SHOWN = 5


class CheckCommand(FitCommand):
    """Check the data of a configuration; of the model, only the shapes are built."""

    def before_instantiate_classes(self) -> None:
        """Nothing is loaded or resumed, so nothing is refused."""
        self.state = None

    @property
    def runs(self) -> Path:
        """The folder of numbered reports; they are no runs that could be resumed."""
        return Path(self._get(self.config, "trainer")["default_root_dir"] or CHECKS)

    def instantiate_classes(self) -> None:
        """Build the model as shapes: its processor is all that is needed."""
        settings = self.config[self.subcommand].as_dict()
        data = named_object(settings["data"]["class_path"])
        if not (inspect.isclass(data) and issubclass(data, LlavaData)):
            raise ValueError("only data from files can be checked: give --config data/llava and --data.path")
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            self.processor: Processor = instantiated(Finetuning, settings["model"]).network.processor
        self.data: dict[str, Any] = settings["data"]["init_args"]

    def _run_subcommand(self, subcommand: str) -> None:
        named = [(self.data["path"], self.data["images"]), (self.data["val_path"], self.data["val_images"])]
        reports = [
            self._checked(part)
            for path, images in named
            if path is not None
            for part in _parts(open_data(path, images, policy=None))
        ]
        print_reports(reports)
        faults = [fault for report in reports for fault in report.faults.values()]
        for fault in faults[:SHOWN]:
            print(fault)
        folder = self.run_folder()
        report = folder / "report.json"
        described = json.dumps([each.values for each in reports], indent=1, ensure_ascii=False)
        report.write_text(described, encoding="utf-8", errors="backslashreplace")
        print_report({}, {"report": report, "lengths": self._drawn(reports, folder)})
        if faults:
            raise SystemExit(1)

    def _checked(self, records: IndexedRecords) -> FileReport:
        return FileReport(records, measure(records, self.processor), read_contents(records))

    def _drawn(self, reports: list[FileReport], folder: Path) -> Path:
        return draw_lengths(reports, self.processor.max_length, folder / "lengths.png")


def _parts(records: Records) -> list[IndexedRecords]:
    parts = records.parts if isinstance(records, MixedRecords) else (records,)
    return [part for part in parts if isinstance(part, IndexedRecords)]
