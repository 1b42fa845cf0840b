"""What commands print when something ends them."""

import subprocess
import sys

import pytest

PROGRAM = """
from recipes.command_line.console import short_errors
with short_errors():
    for number in range({lines}):
        print(number)
"""


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_early_is_no_error(lines):
    """As in `python -m recipes.cost ... | head -1`; a short output is written only at the end."""
    words = [sys.executable, "-c", PROGRAM.format(lines=lines)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")
