"""Calls of modules have types: mypy knows what a model and its parts take and return."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CALLS = """
import torch
from foveal.connectors import Connector, MlpProjector
from foveal.core import Grid, Size
from foveal.encoders import Encoder, VisionTransformer
from foveal.models import AnyResMerge, Merge, answer_batch, load, stream


def calls(encoder: Encoder, vit: VisionTransformer, connector: Connector, mlp: MlpProjector, merge: Merge,
          anyres: AnyResMerge, pixels: torch.Tensor, grid: Grid, size: Size) -> None:
    model = load("folder")
    reveal_type(model(pixels, [pixels], sizes=[size]))  # torch._tensor.Tensor
    reveal_type(encoder(pixels, pixels))  # tuple[torch._tensor.Tensor, ...]
    reveal_type(vit(pixels))  # tuple[torch._tensor.Tensor, ...]
    reveal_type(connector([pixels], [grid]))  # torch._tensor.Tensor
    reveal_type(mlp([pixels], [grid], mask=None))  # torch._tensor.Tensor
    reveal_type(merge([pixels], [grid], None, size))  # foveal.models.merges.merge.Merged
    reveal_type(anyres([pixels], [grid], grid, size))  # foveal.models.merges.merge.Merged
    reveal_type(answer_batch(model, [("a.png", "What?")]))  # list[str]
    reveal_type(stream(model, "a.png", "What?"))  # Iterator[str]
    model("What?")  # incompatible type "str"
    connector([pixels], [(1, 1)])  # expected "Grid"
    merge([pixels], [grid])  # Missing positional arguments "tile_grid", "size"
"""
"""Every line ends with what is said about it."""


@pytest.mark.slow
def test_calls_have_types(tmp_path):
    (tmp_path / "calls.py").write_text(CALLS, encoding="utf-8")
    words = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "calls.py"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    said = dict(re.findall(r"calls\.py:(\d+): (.*)", done.stdout))
    assert said, done.stdout + done.stderr
    wanted = {
        str(number): line.partition("  # ")[2] for number, line in enumerate(CALLS.splitlines(), 1) if "  # " in line
    }
    assert said.keys() == wanted.keys(), done.stdout
    for number, words in wanted.items():
        assert words in said[number]
        assert "Any" not in said[number]
