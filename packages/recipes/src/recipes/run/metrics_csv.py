"""A run's metrics as a table that survives crashes and continues when the run is resumed."""

import csv
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from recipes.run.rows import METRICS, read_rows

FIRST = ("step", "epoch")


class MetricsCsv(Logger):
    """Writes `metrics.csv` into a folder, on the first rank only.

    Every call of `log_metrics` writes a row. Lightning logs training and validation separately, so a row has one or the
    other. A row is passed to the operating system at once; for a new column, a new file is written and replaces the old
    one. This class exists because Lightning's CSVLogger deletes the file when a run is resumed.

    Args:
        folder: the run's folder; created at the first row.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / METRICS
        self._columns: list[str] = []
        self._began = False

    @property
    def name(self) -> str:
        """Empty, so that Lightning's `save_dir/name/version` is the folder."""
        return ""

    @property
    def version(self) -> str:
        """Empty, like `name`."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder; also `Trainer.log_dir` if this logger is the first."""
        return str(self.path.parent)

    @property
    def log_dir(self) -> str:
        """The folder."""
        return self.save_dir

    @property
    def experiment(self) -> "MetricsCsv":
        """The logger itself."""
        return self

    def resume_from(self, steps: int) -> None:
        """Continue the file of a resumed run: drop later rows and an incomplete row at the end.

        Args:
            steps: optimizer steps done in the training state. Lightning counts from 0, so rows with a smaller step are
                kept.

        Raises:
            ValueError: if the file is not such a table.
        """
        self._began = True
        if rank_zero_only.rank or not self.path.is_file():
            return
        self._columns, rows = read_rows(self.path)
        try:
            kept = [row for row in rows if int(row["step"]) < steps]
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{self.path} is not a table of this program ({error}): move it away to start a new one"
            ) from error
        self._rewrite(kept)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a row.

        Raises:
            FileExistsError: at the first row, if another run's file is there and `resume_from` was not called.
        """
        if rank_zero_only.rank:
            return
        if not self._began and self.path.exists():
            raise FileExistsError(f"{self.path} belongs to another run: choose another folder, or resume that run")
        row: dict[str, Any] = {"step": step, **metrics}
        if new := [name for name in row if name not in self._columns]:
            self._columns = [*FIRST, *sorted({*self._columns, *new} - {*FIRST})]
            self._rewrite(read_rows(self.path)[1] if self._began and self.path.exists() else [])
        self._began = True
        with self.path.open("a", encoding="utf-8", newline="") as stream:
            stream.write(self._lines([row]))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `config.yaml` next to the file has them."""

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.partial")
        with partial.open("w", encoding="utf-8", newline="") as stream:
            if self._columns:
                stream.write(self._lines([dict(zip(self._columns, self._columns, strict=True)), *rows]))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, self.path)

    def _lines(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(rows)
        return text.getvalue()
