"""The commands as a user starts them."""

import os
import subprocess
import sys

import pytest

TINY = [
    "--data.pages=12",
    "--data.val_pages=4",
    "--data.batch_size=2",
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=3",
    "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=null",
]


@pytest.fixture
def command(tmp_path):
    """Runs `python -m recipes.NAME ...` in the test's own folder; expects the given exit code."""

    def run(name, *arguments, code=0, tiny=False):
        words = [sys.executable, "-m", f"recipes.{name}", *map(str, arguments), *(TINY if tiny else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run
