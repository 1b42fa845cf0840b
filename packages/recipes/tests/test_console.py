"""What commands print when something ends them."""

import subprocess
import sys

import pytest

from recipes.command_line.console import short_errors


def test_an_error_is_nothing_that_a_terminal_obeys(capsys):
    """The name of a stranger's file may be."""
    with pytest.raises(SystemExit), short_errors():
        raise ValueError("there is no a\x1b[2J\x07\ud800\u202e.json\ngive another")
    assert capsys.readouterr().err.startswith("error: there is no a\\x1b[2J\\x07\\ud800\\u202e.json\ngive another\n")


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
