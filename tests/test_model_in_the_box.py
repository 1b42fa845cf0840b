"""README's third command, as a process: the packaged reader reads the page of docs."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
THIRD = re.compile(r"    echo Read\. \| uv run python -m recipes\.chat docs/page\.png\n\n((?:    .+\n)+)")


def test_it_reads_what_readme_says():
    (found,) = THIRD.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    printed = [line.removeprefix("    ") for line in found.splitlines()]
    done = subprocess.run(
        [sys.executable, "-m", "recipes.chat", "docs/page.png"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TERM": "dumb"},
        input="Read.\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines() + done.stdout.splitlines() == printed
