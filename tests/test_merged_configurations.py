"""Every shipped method, alone or with size, stage and overlays, still merges to the same settings.

The reference was written before configurations extended each other (`python -m tests.merged_configurations --write`).
"""

import subprocess
import sys

import pytest
import yaml
from tests.merged_configurations import LINES, NAMES, environment, flat, in_one_process, line, reference, stage_line

from recipes.command_line.configurations import find_config

REFERENCE = reference()
FEW = [
    line("vary"),
    line("mmfuser", "mmfuser/13b"),
    stage_line("uhd", "13b", "pretrain"),
    stage_line("dense_connector", "13b", "finetune"),
    line(
        "llava", "llava/finetune", "data/llava", "quant/nf4", "lora", more=("--checkpoint=there", "--data.path=there")
    ),
]
"""Some of them, which also run as processes."""


def same(settings, words):
    expected = REFERENCE[" ".join(words)]
    assert {key: repr(value) for key, value in settings.items()} == {key: repr(expected[key]) for key in expected}


@pytest.mark.slow
def test_a_size_stands_alone(tmp_path):
    """A size and a stage give the same settings with and without the small method before them."""
    words = stage_line("uhd", "13b", "pretrain")
    alone = tuple(words[2:])
    (settings,) = in_one_process([alone], tmp_path)
    same(settings, words)


def test_every_old_name_is_found():
    for name in NAMES:
        assert find_config(f"{name}.yaml").endswith(".yaml")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return dict(zip(LINES, in_one_process(LINES, tmp_path_factory.mktemp("merged")), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_every_command_line(found, words):
    same(found[words], words)


@pytest.mark.slow
@pytest.mark.parametrize("words", FEW, ids=" ".join)
def test_a_process_prints_the_same(tmp_path, words):
    """Parsing all of them in one process gives what a user gets."""
    typed = [sys.executable, "-m", "recipes.fit", *words, "--print_config"]
    done = subprocess.run(typed, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True)
    same(flat(yaml.safe_load(done.stdout)), words)
