"""The `compare` command: runs beside each other on one page."""

import argparse

from recipes.command_line.console import remark, short_errors
from recipes.comparison.evaluations import Evaluation, refuse_incomparable
from recipes.comparison.run import ComparedRun, read_runs
from recipes.reports.comparison_page import write_comparison

PAGE = "comparison.html"


def main(options: argparse.Namespace) -> None:
    """Read the runs and write the page.

    Args:
        options: as `compare_options` returns them.

    Raises:
        SystemExit: with 1 for runs that cannot be read, and for scores that are not comparable.
    """
    with short_errors():
        runs = read_runs(options.runs)
        if not options.force:
            check_comparable(runs)
        for run in runs:
            if run.only_settings:
                remark(f"{run.name} has logged nothing yet: only its settings are shown")
        path = options.output / PAGE
        write_comparison(runs, path)
    print(f"comparison: {path}")


def check_comparable(runs: list[ComparedRun]) -> None:
    """Check that scores of the same benchmark and split were measured in the same way.

    Raises:
        ValueError: naming two that were not.
    """
    found: dict[tuple[str, str], list[Evaluation]] = {}
    for run in runs:
        for each in run.evaluations:
            found.setdefault((each.benchmark, each.split), []).append(each)
    for evaluations in found.values():
        refuse_incomparable(evaluations)
