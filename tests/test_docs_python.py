"""Every block of docs/python.md runs, one after the other, and is typed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from foveal.connectors import SpatialResampler
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan, VisionLanguageModel, answer, byte_tokenizer, llama, load, save

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory of the page: its checkpoint, tiny and untrained, and its pictures."""
    model = VisionLanguageModel(
        VisionTransformer(32, 2, 2, 64, 8, 32, layers=(-1,)),
        lambda in_width, out_width: SpatialResampler(in_width, out_width, queries=4, heads=2),
        llama(300, width=32, depth=2, heads=2, mlp_width=64, context=600),
        byte_tokenizer(),
        UhdPlan(32, 8),
        max_length=500,
    )
    save(model, tmp_path / "runs/uhd/version_0/checkpoint")
    for name, size in (("page", (90, 60)), ("left", (30, 70)), ("right", (64, 40))):
        Image.linear_gradient("L").resize(size).save(tmp_path / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_run(folder):
    names = {}
    for block in BLOCKS:
        exec(block, names)
    untrained = load(folder / "runs/uhd/version_0/checkpoint")
    one_by_one = [answer(untrained, *question, max_new_tokens=8) for question in names["questions"]]
    assert names["answers"] == one_by_one
    assert names["logits"].shape[:2] == names["batch"].input_ids.shape
    assert sum(len(each) for each in names["tokens"]) == names["placeholders"]
    assert torch.equal(torch.cat(names["tokens"]), torch.cat([each.tokens for each in names["merged"]]))
    assert names["losses"][-1] < names["losses"][0]


def test_blocks_are_found():
    assert len(BLOCKS) == 8
    for name in ("load", "answer", "answer_batch", "stream", "generate", "visual_tokens", "loss", "save"):
        assert re.search(rf"\b{name}\(", "".join(BLOCKS)), name


@pytest.mark.slow
def test_the_blocks_are_typed(tmp_path):
    (tmp_path / "page.py").write_text("\n".join(BLOCKS), encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "page.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
