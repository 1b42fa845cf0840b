"""A newcomer's own package: InternVL's tiles, and a DeepStack as Qwen3-VL has it, each one Python file and one YAML."""

import json
import subprocess
import sys
from itertools import product

import pytest
import torch
from tests.conftest import TINY
from tests.own_parts import built, check_whole_way, picture
from torch import nn

from foveal.core import Size

__all__ = ["built"]

TILES = '''
"""InternVL 1.5 (arXiv 2404.16821, section 3.3): tiles by the picture's shape, and the whole picture as a thumbnail."""

from PIL.Image import Image, Resampling

from foveal.core import Grid, Size
from foveal.models import ViewPlan


class DynamicTiles(ViewPlan):
    """The picture stretched to the grid of tiles whose shape is nearest to its own, row by row, then a thumbnail."""

    def __init__(self, size: int = 448, fewest: int = 1, most: int = 12) -> None:
        if size < 1 or not 1 <= fewest <= most:
            raise ValueError(f"size {size} is at least 1, fewest {fewest} from 1 to most {most}")
        self.size, self.fewest, self.most = size, fewest, most

    def grid(self, picture: Size) -> Grid:
        """Rows and columns of tiles."""
        if min(picture) < 1:
            raise ValueError(f"a picture of {picture} pixels has no area")
        every = [Grid(rows, columns) for columns in range(1, self.most + 1) for rows in range(1, self.most + 1)]
        grids = sorted((grid for grid in every if self.fewest <= grid.cells <= self.most), key=lambda grid: grid.cells)
        best, difference = grids[0], float("inf")
        for grid in grids:
            here = abs(picture.width / picture.height - grid.columns / grid.rows)
            large = picture.area > 0.5 * self.size**2 * grid.cells
            if here < difference or (here == difference and large):
                best, difference = grid, here
        return best

    def views(self, picture: Size) -> tuple[Size, ...]:
        tiles = self.grid(picture).cells
        return (Size(self.size, self.size),) * (tiles + (tiles > 1))

    def cut(self, image: Image) -> list[Image]:
        rows, columns = self.grid(Size.of(image.size))
        size = self.size
        canvas = image.resize((columns * size, rows * size), Resampling.BICUBIC)
        tiles = [
            canvas.crop((column * size, row * size, (column + 1) * size, (row + 1) * size))
            for row in range(rows)
            for column in range(columns)
        ]
        return tiles if len(tiles) == 1 else [*tiles, image.resize((size, size), Resampling.BICUBIC)]
'''
TILES_YAML = """
extends: laptop
model:
  network:
    encoder:
      class_path: foveal.encoders.VisionTransformer
      init_args: {width: 48, depth: 2, heads: 3, mlp_width: 96, patch_size: 8, image_size: 32, layers: [-1]}
    connector:
      class_path: foveal.connectors.PixelShuffle
      init_args: {ratio: 2}
    plan:
      class_path: tiles.DynamicTiles
      init_args: {size: 32, most: 6}
"""

DEEP = '''
"""Qwen3-VL (arXiv 2511.21631): layers of the encoder, each through its own merger, into the first decoder layers."""

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.connectors import Connector
from foveal.core import Grid, Size
from foveal.models import Merge, Merged


class Merger(Connector):
    """2 x 2 patches side by side, two linear layers; the norm before that, or on the four patches together."""

    def __init__(self, in_width: int, out_width: int, norm_together: bool = True) -> None:
        super().__init__()
        self.in_width, self.out_width, self.norm_together = in_width, out_width, norm_together
        width = 4 * in_width
        self.norm = nn.LayerNorm(width if norm_together else in_width, eps=1e-6)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out_width))

    def out_grid(self, *grids: Grid) -> Grid:
        if any(side % 2 for side in grids[0]):
            raise ValueError(f"a grid of {grids[0]} has no whole blocks of 2x2 patches")
        return Grid(grids[0].rows // 2, grids[0].columns // 2)

    def num_tokens(self, *grids: Grid) -> int:
        return self.out_grid(*grids).cells

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        features, grid = self.single(maps, grids, mask)
        rows, columns = self.out_grid(grid)
        blocks = features.unflatten(1, (rows, 2, columns, 2)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        if self.norm_together:
            return self.layers(self.norm(blocks.flatten(2)))
        return self.layers(self.norm(blocks).flatten(2))


class DeepStack(Merge):
    """The first level as sequence, the others after decoder layers 0, 1, ..., which is before layers 1, 2, ..."""

    def __init__(self, width: int, stacks: int = 3) -> None:
        super().__init__()
        self.width, self.stacks, self.levels = width, stacks, 1 + stacks
        self.layers = tuple(range(1, 1 + stacks))

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        if len(grids) != 1:
            raise ValueError(f"DeepStack takes one view of a picture, not {len(grids)}")
        return grids[0].cells

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        sequence, *stacks = tokens[0]
        return Merged(sequence, tuple(stacks))
'''
DEEP_YAML = """
extends: laptop
model:
  network:
    encoder:
      class_path: foveal.encoders.VisionTransformer
      init_args: {width: 48, depth: 4, heads: 3, mlp_width: 96, patch_size: 8, image_size: 64, layers: [-1, 1, 2, 3]}
    connector:
      class_path: foveal.connectors.Parallel
      init_args:
        join: levels
        branches:
        - class_path: deep.Merger
          init_args: {norm_together: false}
        - class_path: deep.Merger
        - class_path: deep.Merger
        - class_path: deep.Merger
    language_model:
      init_args: {depth: 4}
    plan:
      class_path: foveal.models.PadToSquare
      init_args: {size: 64}
    merge:
      class_path: deep.DeepStack
"""
PACKAGES = {"tiles": (TILES, TILES_YAML), "deep": (DEEP, DEEP_YAML)}
EVERY = pytest.mark.parametrize("name", PACKAGES)


def files(name):
    code, settings = PACKAGES[name]
    return {f"{name}.py": code, f"{name}.yaml": settings}


def words(name):
    return ["--config", f"{name}.yaml", "--allow_import", name]


@EVERY
def test_in_this_process(name, built, tmp_path):
    check_whole_way(built(files(name), words(name)), tmp_path / "checkpoint", name)


def test_tiles_are_those_of_internvl(built):
    """The grids chosen by the released code, tiles before the thumbnail, and no thumbnail for a single tile."""
    network = built(files("tiles"), words("tiles")).network
    plan = network.processor.plan
    sizes = {(800, 400): (1, 2), (100, 300): (3, 1), (64, 64): (2, 2), (32, 32): (1, 1), (300, 200): (2, 3)}
    assert {size: plan.grid(Size(*size)) for size in sizes} == sizes
    assert len(plan.cut(picture(30, 30))) == 1
    wide = picture(96, 64)
    cut = plan.cut(wide)
    assert [each.size for each in cut] == [(32, 32)] * 7
    assert cut[5].tobytes() == wide.crop((64, 32, 96, 64)).tobytes()  # second row, third column
    assert network.processor.count(Size(96, 64)) == [4] * 7


@torch.no_grad()
def test_levels_are_those_of_qwen3_vl(built):
    """Every stack is its layer of the encoder through its merger, which normalises in one of two places."""
    network = built(files("deep"), words("deep")).network
    view = torch.randn(3, 64, 64)
    (merged,) = network.merged([view], [Size(64, 64)])
    assert network.merge.layers == (1, 2, 3)
    maps = network.encoder(view[None])
    for number, (features, found) in enumerate(zip(maps, (merged.tokens, *merged.stacks), strict=True)):
        branch = network.connector.parts[number]
        expected = []
        for row, column in product(range(0, 8, 2), range(0, 8, 2)):
            cells = [features[0, (row + down) * 8 + column + right] for down, right in product((0, 1), (0, 1))]
            if number == 0:
                joined = torch.cat([nn.functional.layer_norm(cell, (48,), eps=1e-6) for cell in cells])
            else:
                joined = nn.functional.layer_norm(torch.cat(cells), (192,), eps=1e-6)
            hidden = nn.functional.gelu(branch.layers[0](joined))
            expected.append(branch.layers[2](hidden))
        torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@EVERY
def test_by_commands(name, command, tmp_path):
    """Its cost, training, resuming, validation, answers and chat, from a folder outside the repository."""
    for file, text in files(name).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    picture(200, 120).save(tmp_path / "page.png")
    allowed = ("--allow_import", name)
    cost = command("cost", *words(name), "--image", "200x120").stdout
    assert ("stacked into layers" in cost) == (name == "deep")
    brief = (*TINY, "--controls=false", "--states.every_steps=1", "--data.workers=1")
    command("fit", *words(name), *brief, "--trainer.max_steps=2", "--run", "runs/own")
    command("fit", *words(name), *brief, "--trainer.max_steps=3", "--run", "runs/own", "--ckpt_path", "last")
    checkpoint = ("--checkpoint", "runs/own/checkpoint", *allowed)
    assert "validation" in command("validate", "--config", "laptop.yaml", *checkpoint, *TINY).stdout
    assert (
        command("cost", "--config", "laptop.yaml", *checkpoint, "--image", "200x120").stdout.splitlines()[:5]
        == (cost.splitlines()[:5])
    )
    asked = command("predict", *checkpoint, "--image", "page.png", "--question", "Read.", "--max_new_tokens=4")
    lines = [{"id": str(number), "image": "page.png", "question": "Read."} for number in range(2)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    listed = command("predict", *checkpoint, "--data", "questions.jsonl", "--max_new_tokens=4").stdout.splitlines()
    assert [json.loads(line)["answer"] for line in listed] == [asked.stdout.strip()] * 2
    talked = subprocess.run(
        [sys.executable, "-m", "recipes.chat", "page.png", *map(str, checkpoint), "--max_new_tokens=4"],
        cwd=tmp_path,
        input="Read.\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert talked.returncode == 0, talked.stderr
    assert talked.stdout.strip() == asked.stdout.strip()
    merged = command("merge_shards", "runs/own", "merged", *allowed)
    assert "checkpoint: merged" in merged.stdout
    adapted = ("--config", "lora.yaml", *brief, "--trainer.max_steps=2", "--run", "runs/adapted")
    command("fit", "--config", "laptop.yaml", *checkpoint, *adapted)
    command("merge", "runs/adapted/adapter", "whole", *allowed)
    command("export", "whole", "exported", *allowed)


@pytest.mark.slow
def test_on_two_ranks(command, tmp_path):
    """Further ranks are started with the typed arguments, and the weights of a connector with levels are sharded."""
    for file, text in files("deep").items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    sharded = ("--config", "scale/fsdp.yaml", "--trainer.devices=2", "--controls=false", *TINY)
    command("fit", *words("deep"), *sharded, "--run", "runs/two")
    asked = (
        "--checkpoint",
        "runs/two/checkpoint",
        "--allow_import",
        "deep",
        "--question",
        "Hello?",
        "--max_new_tokens=2",
    )
    command("predict", *asked)
