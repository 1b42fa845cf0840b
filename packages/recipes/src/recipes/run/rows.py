"""Read a `metrics.csv`, without importing what writes it."""

import csv
from pathlib import Path

METRICS = "metrics.csv"
"""The table of a run, in its folder."""


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a `metrics.csv`, without an incomplete last line left by a crash."""
    with path.open(encoding="utf-8", newline="") as stream:
        whole = [line for line in stream if line.endswith("\n")]
    reader = csv.DictReader(whole)
    return list(reader.fieldnames or []), list(reader)
