"""Train and compare the methods of the field at a small size: `python -m tools.study`.

Every arm has equal steps, the same pages and the same language model. The same command goes on after Ctrl-C, and
only trains what is neither finished nor in docs/study.json. `--report` writes the table and the figure of docs/study.md
from what is finished, and records it in docs/study.json.
"""

import argparse
import os
import sys
from pathlib import Path

from foveal.core import whole_file
from tools.study.arms import ARMS
from tools.study.chart import draw_chart
from tools.study.record import RECORD, Finished, read_record, write_record
from tools.study.results import Study, create, steps_of
from tools.study.table import rows_of, section, with_section
from tools.study.train import train

STEPS = 1500
SEEDS = (0, 1, 2)
FEWEST_STEPS = 8
"""Vary's halves have a validation halfway, too."""
DOCS = Path(__file__).parents[2] / "docs"


def options() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m tools.study", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/study"), help="folder of the study (%(default)s)")
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=f"of {', '.join(ARMS)}"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, metavar="SEED", help="of weights and pages")
    parser.add_argument("--steps", type=int, help=f"of every arm, at least {FEWEST_STEPS} ({STEPS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="arms at a time (%(default)s)")
    parser.add_argument("--report", action="store_true", help="train nothing, write the table and figure of docs/")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of study.md and study.json (%(default)s)")
    return parser


def main() -> int:
    """Train or report; returns the exit code."""
    parser = options()
    given = parser.parse_args()
    if given.steps is not None and given.steps < FEWEST_STEPS:
        parser.error(f"--steps is {given.steps}: at least {FEWEST_STEPS} are needed")
    if given.jobs < 1:
        parser.error(f"--jobs is {given.jobs}: at least one arm is trained at a time")
    try:
        return run(given)
    except ValueError as error:
        parser.error(str(error))


def run(given: argparse.Namespace) -> int:
    """Train or report; returns the exit code.

    Raises:
        ValueError: if what is there does not fit the options, or cannot be read.
    """
    output, record = given.output.resolve(), given.docs / RECORD
    before = read_record(record)
    recorded = before.steps if before is not None else None
    steps = steps_of(output, given.steps) or (recorded if given.report else STEPS)
    if steps is None:
        raise ValueError(f"{output} has no study yet: leave --report out to train one")
    if given.report and recorded not in (None, steps):
        raise ValueError(f"{record} has runs of {recorded} steps, not {steps}: use another --docs")
    study = Study(output, steps, before.runs if before is not None and recorded == steps else {})
    failed: list[str] = []
    if not given.report:
        create(output, steps)
        try:
            failed = train(study, given.arms, given.seeds, jobs=given.jobs)
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; the same command goes on\n")
            return 130
    rows = rows_of(study, given.arms, given.seeds)
    if not rows:
        sys.stderr.write(f"{output}: no arm is finished yet\n")
        return 1
    written = section(rows, steps, given.arms, given.seeds)
    if not given.report:
        print(f"\n{written}\nfigure: {draw_chart(rows, output / 'study.png')}")
        return 1 if failed else 0
    given.docs.mkdir(parents=True, exist_ok=True)
    if before is not None and before.outdated:
        print(f"left out of {record}, trained with other configurations: {', '.join(before.outdated)}")
    finished = [(row, seed) for row in rows.values() for seed in row.scores]
    runs = {(seed, row.name): Finished(row.cost, row.scores[seed]) for row, seed in finished}
    write_record(record, steps, {**study.recorded, **runs})
    page = given.docs / "study.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    with whole_file(page) as file:
        file.write_text(with_section(text, written), encoding="utf-8")
    print(f"table: {page}\nfigure: {draw_chart(rows, given.docs / 'study.png')}\nruns: {record}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
