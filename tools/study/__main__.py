"""Train and compare the methods of the field at a small size: `python -m tools.study`.

Every arm has equal steps, the same pages and the same language model. The same command goes on after Ctrl-C, and
only trains what is not finished. `--report` writes the table and the figure of docs/study.md from what is finished.
"""

import argparse
import os
import sys
from pathlib import Path

from tools.study.arms import ARMS
from tools.study.chart import draw_chart
from tools.study.results import open_study
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
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of study.md, for --report (%(default)s)")
    return parser


def main() -> int:
    """Train or report; returns the exit code."""
    parser = options()
    given = parser.parse_args()
    if given.steps is not None and given.steps < FEWEST_STEPS:
        parser.error(f"--steps is {given.steps}: at least {FEWEST_STEPS} are needed")
    if given.jobs < 1:
        parser.error(f"--jobs is {given.jobs}: at least one arm is trained at a time")
    output = given.output.resolve()
    try:
        study = open_study(output, given.steps, default=None if given.report else STEPS)
    except ValueError as error:
        parser.error(str(error))
    failed: list[str] = []
    if not given.report:
        try:
            failed = train(study, given.arms, given.seeds, jobs=given.jobs)
        except KeyboardInterrupt:
            sys.stderr.write("\nstopped; the same command goes on\n")
            return 130
    rows = rows_of(study, given.arms, given.seeds)
    if not rows:
        sys.stderr.write(f"{output}: no arm is finished yet\n")
        return 1
    written = section(study, given.arms, given.seeds)
    if given.report:
        page = given.docs / "study.md"
        page.write_text(with_section(page.read_text(encoding="utf-8"), written), encoding="utf-8")
        print(f"table: {page}\nfigure: {draw_chart(rows, given.docs / 'study.png')}")
    else:
        print(f"\n{written}\nfigure: {draw_chart(rows, output / 'study.png')}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
