"""Three thousand changed inputs with fixed seeds: refused in our own words, quickly, and nothing else happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.kinds import KINDS
from tests.fuzz.watch import SECONDS, is_ours

ROOT = Path(__file__).parents[1]
MEGABYTES = 300


def test_there_are_three_thousand():
    assert sum(number for _, number in KINDS.values()) == 3000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_changed_inputs(tmp_path, kind):
    """In a process of its own: a crash or a hang of a library ends that alone, and says at which input."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", kind, str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "FOVEAL_CACHE": str(tmp_path / "work/cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    now = tmp_path / "now"
    assert done.returncode == 0, f"ended at input {now.read_text() if now.exists() else '-'}: {done.stderr[-3000:]}"
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["faults"] == []
    assert report["slowest"][0] < SECONDS
    assert report["grown"] < MEGABYTES
    # Some inputs are still valid, but not most: otherwise too little was changed.
    assert report["refused"] > KINDS[kind][1] / 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("open('/etc/hostname')", "open /etc/hostname"),
        ("open('../outside', 'w')", "open "),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.system('true')", "os.system"),
        ("import socket; socket.socket(socket.AF_UNIX).connect('/nowhere')", "socket.connect"),
        ("import pickle; pickle.loads(pickle.dumps(print))", "pickle.find_class"),
        ("open('inside', 'w')", ""),
        ("import json.tool", ""),
    ],
)
def test_the_watch_sees(tmp_path, code, seen):
    """Hooks cannot be removed, so that they are tried in a process of their own."""
    (tmp_path / "work").mkdir()
    program = (
        "import sys, contextlib\nfrom pathlib import Path\nfrom tests.fuzz.watch import Watch\n"
        "watch = Watch(Path('.'))\nwith contextlib.suppress(OSError), watch.one_input():\n    "
        f"{code}\nprint(watch.seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "work",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen in done.stdout
    assert (done.stdout.strip() == "[]") == (not seen)


def test_whose_error_it_is():
    from foveal.models import BadImageError, read_image

    with pytest.raises(BadImageError) as ours:
        read_image(b"")
    with pytest.raises(ValueError, match="Expecting value") as theirs:
        json.loads("")
    assert is_ours(ours.value)
    assert not is_ours(theirs.value)
