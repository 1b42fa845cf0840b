"""What a check of the data has found, as plain values, a table and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recipes.data.contents import Contents
from recipes.data.lengths import Measured
from recipes.data.records import Array, Records
from recipes.reports.figures import figure_of, write_figure

SIDE_BY_SIDE = 3
"""Files in one table, so that it fits on a narrow terminal."""


@dataclass(frozen=True)
class FileReport:
    """What was found in one file.

    Attributes:
        records: its conversations.
        measured: their lengths.
        contents: what decoding their pictures has shown.
    """

    records: Records
    measured: Measured
    contents: Contents

    @cached_property
    def faults(self) -> dict[int, str]:
        """Why records cannot be used, by number."""
        found = {**self.contents.faults, **self.measured.faults, **self.records.faults}
        return dict(sorted(found.items()))

    @cached_property
    def duplicates(self) -> list[tuple[str, str]]:
        """Records with the same texts and pictures as an earlier one: its location, and that of the earlier one."""
        first: dict[str, int] = {}
        pairs = []
        for number, found in self.contents.hashes:
            if (earlier := first.setdefault(found, number)) != number:
                pairs.append((self.records.location(number), self.records.location(earlier)))
        return pairs

    @cached_property
    def values(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        numbers = self.measured.numbers[self.measured.tokens > 0].astype(np.int64)
        tokens, visual, supervised = numbers.sum(axis=0).tolist() if len(numbers) else (0, 0, 0)
        return {
            "file": self.records.source,
            "samples": len(self.records),
            "with pictures": int((self.records.modality_lengths > 0).sum()),
            "cannot be used": len(self.faults),
            "do not fit": len(self.measured.faults),
            "duplicates": len(self.duplicates),
            "turns": self.contents.roles,
            "tokens": {"all": tokens, "visual": visual, "supervised": supervised} | _spread(numbers[:, 0]),
            "faults": list(self.faults.values()),
            "duplicate records": [f"{later} repeats {earlier}" for later, earlier in self.duplicates],
        }


def _spread(tokens: Array) -> dict[str, float]:
    if not len(tokens):
        return {}
    middle, most = np.percentile(tokens, (50, 95))
    return {"mean": round(float(tokens.mean()), 1), "median": middle, "95 %": most, "longest": int(tokens.max())}


def print_reports(reports: Sequence[FileReport]) -> None:
    """Print tables with a column for every file."""
    for start in range(0, len(reports), SIDE_BY_SIDE):
        _print_table(reports[start : start + SIDE_BY_SIDE])


def _print_table(reports: Sequence[FileReport]) -> None:
    table = Table(title="data", title_justify="left")
    table.add_column("")
    for report in reports:
        table.add_column(escape(Path(report.records.source).name), justify="right")
    found = [report.values for report in reports]
    for name in ("samples", "with pictures", "cannot be used", "do not fit", "duplicates"):
        table.add_row(name, *(f"{each[name]}" for each in found))
    for name in ("median", "95 %", "longest"):
        table.add_row(f"tokens: {name}", *(f"{each['tokens'].get(name, 0):.0f}" for each in found))
    for name in ("visual", "supervised"):
        table.add_row(f"tokens: {name}", *(_share(each["tokens"], name) for each in found))
    Console().print(table)


def _share(tokens: dict[str, float], name: str) -> str:
    return f"{tokens[name] / tokens['all']:.1%}" if tokens["all"] else "-"


def draw_lengths(reports: Sequence[FileReport], limit: int, path: Path) -> Path:
    """Draw how long the samples of every file are, those with pictures and the others.

    Args:
        reports: at least one.
        limit: longest sequence of the model, in tokens.
        path: PNG to write.
    """
    figure = figure_of(7, 2.8 * len(reports))
    for panel, report in zip(figure.subplots(len(reports), squeeze=False)[:, 0], reports, strict=True):
        used = report.measured.tokens > 0
        shown = used & (report.measured.numbers[:, 1] > 0)
        groups = [report.measured.tokens[shown], report.measured.tokens[used & ~shown]]
        edges = np.linspace(0, max([limit, *(group.max() for group in groups if len(group))]), 60)
        panel.hist(groups, edges, stacked=True, color=["#08519c", "#9ecae1"], label=["with pictures", "text alone"])
        panel.axvline(limit, color="#cf222e", linewidth=1, label=f"max_length {limit}")
        panel.set_title(report.records.source, loc="left", fontsize=9)
        panel.set_ylabel("samples")
        panel.legend(frameon=False)
    panel.set_xlabel("tokens")
    return write_figure(figure, path)
