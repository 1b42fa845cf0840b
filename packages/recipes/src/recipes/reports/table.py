"""The table at the end of a run."""

import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

TITLES = {"anls": "ANLS", "exact": "exact match", "cer": "character error rate"}


def print_report(scores: Mapping[str, Mapping[str, float]], paths: Mapping[str, Path]) -> None:
    """Print a table of metrics and, below it, the files that were written.

    Args:
        scores: row of the table -> its metrics by name.
        paths: description -> file or folder that was written.
    """
    console = Console()
    if scores:
        table = Table(title="validation", title_justify="left")
        table.add_column("model")
        names = list(next(iter(scores.values())))
        for name in names:
            table.add_column(TITLES.get(name, name), justify="right")
        for row, values in scores.items():
            table.add_row(row, *(f"{values[name]:.3f}" for name in names))
        console.print(table)
    for name, path in paths.items():
        # A relative path stays on one line and can be copied into the next command.
        print(f"{name}: {os.path.relpath(path)}")
