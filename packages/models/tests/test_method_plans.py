"""View plans of LLaVA-NeXT, DeepStack and Vary: reference tables and pixels, and properties for any picture."""

from itertools import product
from math import isqrt

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Grid, Size, build, describe
from foveal.models import CropToSquare
from foveal.models.views import canvas
from foveal.models.views.anyres import AnyResPlan, best_canvas, kept_region
from foveal.models.views.canvas import fitted_box, stretched
from foveal.models.views.deepstack import DeepStackHdPlan, DeepStackPlan
from foveal.models.views.draft import Draft
from foveal.models.views.vary import VaryPlan

SIDES = st.integers(1, 3000)
SMALL_SIDES = st.integers(1, 150)
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BICUBIC = Image.Resampling.BICUBIC
PLANS = (
    AnyResPlan(14),
    AnyResPlan(14, [(1, 1), (4, 2)], "height_first"),
    DeepStackPlan(14),
    DeepStackPlan(14, 6, keep_aspect=True),
    DeepStackPlan(14, 9, square=True),
    DeepStackPlan(14, square=True, keep_aspect=True, together=True),
    DeepStackHdPlan(14),
    DeepStackHdPlan(14, 6),
    VaryPlan(28),
    VaryPlan(28, 14, resample="bilinear"),
)


def noise(width, height):
    values = np.random.default_rng(width * 10_000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def normalised(views, statistics=CLIP):
    mean, std = (torch.tensor(each)[:, None, None] for each in statistics)
    return torch.stack([(torch.from_numpy(np.array(view)).permute(2, 0, 1) / 255 - mean) / std for view in views])


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def same(ours, expected):
    assert np.array_equal(np.array(ours), np.array(expected))


def joined(tiles, columns):
    """Join tiles, row by row, into one picture."""
    arrays = [np.array(tile) for tile in tiles]
    return np.vstack([np.hstack(arrays[start : start + columns]) for start in range(0, len(arrays), columns)])


def tiles_wide(canvas, size):
    """(width, height) in pixels as rows and columns of tiles."""
    assert canvas[0] % size == canvas[1] % size == 0
    return canvas[1] // size, canvas[0] // size


def test_anyres_table(golden):
    meta = golden("llava/anyres_table").meta
    candidates = [(width // 336, height // 336) for width, height in meta["grid_pinpoints_wh"]]
    plan = AnyResPlan(336, candidates)
    assert plan.candidates == AnyResPlan().candidates
    assert len(meta["rows"]) == meta["summary"]["n"] == 62
    for row in meta["rows"]:
        size = Size(row["width"], row["height"])
        columns, rows = row["grid_wh"]
        assert plan.tile_grid(size) == tiles_wide(row["best_wh"], 336) == (rows, columns), size
        assert plan.views(size) == ((336, 336),) * row["tiles"], size
        left, top, right, bottom = fitted_box(size, Size(*row["best_wh"]))
        assert [[right - left, bottom - top], [left, top]] == [row["resized_wh"], row["paste_xy"]], size


def test_what_remains_of_the_map_without_padding(golden):
    meta = golden("llava/anyres_table").meta
    side = meta["tokens_per_side"]
    for row in meta["rows"]:
        size = Size(row["width"], row["height"])
        map_rows, map_columns = (tiles * side for tiles in AnyResPlan().tile_grid(size))
        top, bottom, left, right = kept_region(size, AnyResPlan().tile_grid(size), (side, side))
        assert (bottom - top, right - left) == (row["kept_rows"], row["kept_cols"]), size
        # Centred, with the odd line kept: equal amounts are cut off above and below, left and right.
        assert (top, left) == (map_rows - bottom, map_columns - right), size


def test_anyres_as_transformers_reads_it(golden):
    meta = golden("llava/anyres_table").meta
    side, plan, different = meta["tokens_per_side"], AnyResPlan(tie_order="height_first"), 0
    for row in meta["rows"]:
        size = Size(row["width"], row["height"])
        tile_grid = plan.tile_grid(size)
        assert tile_grid == tiles_wide(row["transformers_best_wh"], 336), size
        top, bottom, left, right = kept_region(size, tile_grid, (side, side))
        assert side * side + (bottom - top) * (right - left + 1) == row["transformers_tokens"], size
        different += tile_grid != AnyResPlan().tile_grid(size)
    assert different == meta["summary"]["n_where_transformers_differs"]


def test_anyres_with_all_canvases_up_to_six_by_six(golden):
    reference = golden("llava/anyres_table").meta["anyres_max"]
    plan = AnyResPlan(reference["tile"], list(product(range(1, 7), repeat=2)))
    assert len(plan.candidates) == 36
    for row in reference["rows"]:
        columns, rows = row["grid_wh"]
        assert plan.tile_grid(Size(row["width"], row["height"])) == (rows, columns), row


def test_anyres_pixels(golden):
    reference = golden("llava/preprocess")
    described = reference.meta["anyres"]
    size = described["tile"]
    plan = AnyResPlan(size, [(width // size, height // size) for width, height in described["grid_pinpoints_wh"]])
    assert described["images"] == [0, 1]
    for number in described["images"]:
        image = Image.fromarray(reference.tensors[f"{number}.input_rgb_hwc"].numpy())
        close(normalised(plan.cut(image)), reference.tensors[f"{number}.anyres.pixel_values_{size}"])


def test_deepstack_table(golden):
    meta = golden("deepstack/views").meta
    for crops, table in meta["table"].items():
        plan = DeepStackPlan(meta["table_crop"], int(crops))
        assert len(table["grids"]) == 28
        for size, (columns, rows) in table["grids"]:
            assert plan.tile_grid(Size(*size)) == (rows, columns), size
            assert DeepStackHdPlan(meta["table_crop"], int(crops)).tile_grid(Size(*size)) == (rows, columns), size
            candidates = [Grid(rows, columns) for columns, rows in table["candidates_wh"]]
            assert best_canvas(Size(*size), candidates, meta["table_crop"]) == (rows, columns), size


@pytest.mark.parametrize("case", ["wide", "tall", "small", "pad", "fixed", "hd"])
def test_deepstack_pixels(golden, case):
    reference = golden("deepstack/views")
    described = reference.meta["cases"][case]
    size, crops, mode = described["crop"], described["num_crops"], described["mode"]
    plan = {
        "plain": DeepStackPlan(size, crops),
        "pad": DeepStackPlan(size, crops, keep_aspect=True),
        "fixed": DeepStackPlan(size, crops, square=True),
        "hd": DeepStackHdPlan(size, crops),
    }[mode]
    image = Image.fromarray(reference.tensors[f"{case}.image"].numpy())
    columns, rows = described["grid_wh"]
    assert plan.tile_grid(Size.of(image.size)) == (rows, columns)
    assert len(plan.views(Size.of(image.size))) == described["views"]
    close(normalised(plan.cut(image)), reference.tensors[f"{case}.views"])
    if mode == "fixed":
        together = DeepStackPlan(size, crops, square=True, together=True)
        close(normalised(together.cut(image)), reference.tensors[f"{case}.views"])


def test_vary_pixels(golden):
    tensors = golden("vary/preprocess").tensors
    image = Image.fromarray(tensors["image_uint8_hwc"].numpy())
    clip, squashed = VaryPlan(48, 20).cut(image)
    close(normalised([clip])[0], tensors["clip_center_crop"])
    close(normalised([squashed])[0], tensors["vary_high_pil_bicubic_clip"])
    clip, squashed = VaryPlan(48, 20, resample="bilinear").cut(image)
    close(normalised([clip])[0], tensors["clip_center_crop"])
    close(normalised([squashed], IMAGENET)[0], tensors["vary_high_opencv_imagenet"])


def test_bilinear_enlarges_as_opencv_does():
    # Made with OpenCV 5.0; at two positions exact fractions would round to another value.
    values = (np.arange(12) * 67 % 256).astype(np.uint8).reshape(3, 4)
    (view,) = VaryPlan(5, resample="bilinear").cut(Image.fromarray(np.repeat(values[..., None], 3, axis=2)))
    assert np.array(view)[..., 1].tolist() == [
        [0, 47, 100, 154, 201],
        [5, 52, 105, 159, 206],
        [12, 59, 113, 166, 213],
        [19, 66, 119, 173, 220],
        [24, 71, 124, 178, 225],
    ]


@settings(max_examples=50, deadline=None)
@given(SMALL_SIDES, SMALL_SIDES, st.integers(1, 40))
def test_bilinear_is_within_a_grey_level_of_exact_fractions(width, height, size):
    image = noise(width, height)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double()
    exact = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)[0]
    (view,) = VaryPlan(size, resample="bilinear").cut(image)
    assert (torch.from_numpy(np.array(view)).permute(2, 0, 1) - exact).abs().max() < 1.01


@settings(max_examples=25, deadline=None)
@given(SMALL_SIDES, SMALL_SIDES)
def test_what_is_cut_is_what_was_promised(width, height):
    image = noise(width, height)
    before = np.array(image)
    for plan in PLANS:
        first, again = plan.cut(image), plan.cut(image)
        assert [view.size for view in first] == list(plan.views(Size(width, height)))
        assert all(view.mode == "RGB" for view in first)
        for one, other in zip(first, again, strict=True):
            same(one, other)
        same(image, before)


@given(SIDES, SIDES)
def test_sets_of_views_and_their_order(width, height):
    for plan in PLANS:
        views = plan.views(Size(width, height))
        sets = [item for item in plan.layout(Size(width, height)) if isinstance(item, int)]
        assert len(views) == len(sets) * plan.inputs
        assert sets == list(range(len(sets)))


@given(SIDES, SIDES, st.integers(4, 16))
def test_one_overview_and_as_many_tiles_as_the_grid_has(width, height, crops):
    for plan in (AnyResPlan(), AnyResPlan(tie_order="height_first"), DeepStackPlan(336, crops)):
        rows, columns = plan.tile_grid(Size(width, height))
        assert len(plan.views(Size(width, height))) == 1 + rows * columns
    assert (columns, rows) != (1, 1)
    assert rows * columns <= crops
    plan = DeepStackHdPlan(336, crops)
    assert plan.tile_grid(Size(width, height)) == (rows, columns)
    assert len(plan.views(Size(width, height))) == (1 + rows * columns) * (1 + isqrt(crops) ** 2)


@given(SIDES, SIDES, st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=8))
def test_the_two_readings_of_a_list_are_each_other_turned(width, height, candidates):
    turned = AnyResPlan(336, candidates, "height_first")
    assert turned.tile_grid(Size(width, height)) == AnyResPlan(336, candidates).tile_grid(Size(height, width))[::-1]


@given(SIDES, SIDES, st.tuples(st.integers(1, 6), st.integers(1, 6)), st.tuples(st.integers(1, 30), st.integers(1, 30)))
def test_the_kept_region_lies_in_the_map_and_has_the_pictures_shape(width, height, tile_grid, grid):
    rows, columns = tile_grid[0] * grid[0], tile_grid[1] * grid[1]
    top, bottom, left, right = kept_region(Size(width, height), tile_grid, grid)
    assert 0 <= top <= bottom <= rows
    assert 0 <= left <= right <= columns
    assert (top, bottom) == (0, rows) or (left, right) == (0, columns)
    scale = min(rows / height, columns / width)
    assert abs((bottom - top) - height * scale) < 2
    assert abs((right - left) - width * scale) < 2


@settings(max_examples=25, deadline=None)
@given(SMALL_SIDES, SMALL_SIDES)
def test_tiles_follow_row_by_row(width, height):
    image = noise(width, height)
    overview, *tiles = DeepStackPlan(14).cut(image)
    rows, columns = DeepStackPlan(14).tile_grid(Size(width, height))
    same(overview, image.resize((14, 14), BICUBIC))
    same(joined(tiles, columns), image.resize((columns * 14, rows * 14), BICUBIC))

    overview, *tiles = AnyResPlan(14).cut(image)
    rows, columns = AnyResPlan(14).tile_grid(Size(width, height))
    same(overview, image.resize((14, 14), BICUBIC))
    whole = joined(tiles, columns)
    left, top, right, bottom = fitted_box(Size(width, height), Size(columns * 14, rows * 14))
    same(whole[top:bottom, left:right], image.resize((right - left, bottom - top), BICUBIC))
    whole[top:bottom, left:right] = 0
    assert not whole.any()


@settings(max_examples=25, deadline=None)
@given(SMALL_SIDES, SMALL_SIDES, st.sampled_from([4, 6, 9]))
def test_hd_views_are_those_of_deepstack_and_their_enlarged_parts(width, height, crops):
    image, side = noise(width, height), isqrt(crops)
    rows, columns = DeepStackHdPlan(8, crops).tile_grid(Size(width, height))
    views, base = DeepStackHdPlan(8, crops).cut(image), DeepStackPlan(8, crops).cut(image)
    for ours, expected in zip(views[: len(base)], base, strict=True):
        same(ours, expected)
    parts = views[len(base) :]
    enlarged = [joined(parts[start : start + side * side], side) for start in range(0, len(parts), side * side)]
    same(enlarged[0], image.resize((8 * side, 8 * side), BICUBIC))
    same(joined(enlarged[1:], columns), image.resize((columns * 8 * side, rows * 8 * side), BICUBIC))


def test_a_canvas_of_one_tile_comes_with_its_overview():
    plan = AnyResPlan(14, [(1, 1)])
    assert plan.tile_grid(Size(30, 10)) == (1, 1)
    overview, tile = plan.cut(Image.new("RGB", (30, 10), "white"))
    assert overview.getpixel((7, 0)) == (255, 255, 255)
    assert tile.getpixel((7, 0)) == (0, 0, 0)
    assert tile.getpixel((7, 7)) == (255, 255, 255)


def test_views_that_are_seen_together():
    for plan in (DeepStackPlan(14, 9, square=True, together=True), VaryPlan(28, 14)):
        assert plan.inputs == len(plan.views(Size(30, 20)))
        assert plan.tile_grid(Size(30, 20)) is None
    assert DeepStackPlan(14, 9, square=True, together=True).layout(Size(30, 20)) == (0,)
    assert DeepStackPlan(14, 9, square=True).inputs == 1
    assert VaryPlan(28).inputs == 1


def test_vary_stands_between_its_texts():
    assert VaryPlan(28).layout(Size(30, 20)) == ("<img>", 0, "</img>")
    assert VaryPlan(28, 14).layout(Size(30, 20)) == ("<img>", 0, "</img>")
    assert VaryPlan(28, start="", end="\n").layout(Size(30, 20)) == (0, "\n")
    assert VaryPlan(28, start="", end="").layout(Size(30, 20)) == (0,)


def test_vary_looks_at_the_middle_first_and_then_at_all():
    image = noise(60, 20)
    middle, whole = VaryPlan(28, 14).cut(image)
    same(middle, CropToSquare(14).cut(image)[0])
    same(whole, image.resize((28, 28), BICUBIC))


@pytest.mark.parametrize("size", [(1, 4_000_000), (4_000_000, 1)])
def test_a_strip_of_millions_of_pixels(size, monkeypatch):
    original = Image.Image.resize

    def watched(image, size, resample, box=None):
        # Pillow resizes the width first, for the rows that it needs.
        height = image.height if box is None else box[3] - box[1]
        assert size[0] * height <= canvas.LARGEST_CANVAS
        return original(image, size, resample, box)

    monkeypatch.setattr(Image.Image, "resize", watched)
    image = Image.new("RGB", size, "white")
    for plan in (AnyResPlan(), DeepStackPlan(), DeepStackHdPlan(), VaryPlan(crop=224), VaryPlan(resample="bilinear")):
        views = plan.cut(image)
        assert [view.size for view in views] == list(plan.views(Size(*size)))
        assert views[0].getpixel((100, 100)) == (255, 255, 255)


@settings(max_examples=25, deadline=None)
@given(SMALL_SIDES, SMALL_SIDES, st.integers(1, 60))
def test_changing_the_height_first_gives_the_same_pixels(width, height, side):
    assume(side * height > 500)
    # Medium greys, so that no value is clipped between the two passes.
    image = noise(width, height).point(lambda value: 64 + value // 2)
    usual = np.array(stretched(Draft.of(image), Size(side, side))).astype(int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canvas, "LARGEST_CANVAS", 500)
        assert np.abs(np.array(stretched(Draft.of(image), Size(side, side))) - usual).max() <= 2


def test_described_and_built_again():
    for plan in PLANS:
        copy = build(describe(plan))
        assert describe(copy) == describe(plan)
        assert copy.inputs == plan.inputs
        for size in ((30, 20), (20, 61)):
            assert copy.views(Size(*size)) == plan.views(Size(*size))
            assert copy.tile_grid(Size(*size)) == plan.tile_grid(Size(*size))
            for ours, expected in zip(copy.cut(noise(*size)), plan.cut(noise(*size)), strict=True):
                same(ours, expected)


def test_pictures_without_area():
    for plan in PLANS:
        for ask in (plan.views, plan.layout):
            with pytest.raises(ValueError, match="5x0 pixels has no area"):
                ask(Size(5, 0))
        with pytest.raises(ValueError, match="0x5 pixels has no area"):
            plan.cut(Image.new("RGB", (0, 5)))
    with pytest.raises(ValueError, match="0x5 pixels has no area"):
        kept_region(Size(0, 5), (1, 2), (4, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AnyResPlan(0), "at least 1 pixel, not 0"),
        (lambda: AnyResPlan(336, []), "at least one candidate"),
        (lambda: AnyResPlan(336, [(1, 2), (0, 2)]), r"at least 1 each, not \(0, 2\)"),
        (lambda: AnyResPlan(336, [(1, 2, 3)]), r"pairs of whole numbers of tiles, at least 1 each, not \(1, 2, 3\)"),
        (lambda: AnyResPlan(336, [1, 2]), "pairs of whole numbers of tiles, at least 1 each, not 1"),
        (lambda: AnyResPlan(336, [(336, 672)]), "225792 tiles of 336x336 pixels .* counted in tiles, not in pixels"),
        (lambda: AnyResPlan(tie_order="rows"), "'width_first' or 'height_first', not 'rows'"),
        (lambda: DeepStackPlan(0), "at least 1 pixel, not 0"),
        (lambda: DeepStackPlan(336, 1), "at least 2 crops, not 1"),
        (lambda: DeepStackPlan(336, 10_000), "10000 tiles of 336x336 pixels"),
        (lambda: DeepStackPlan(336, 6, square=True), "6 crops do not form a square"),
        (lambda: DeepStackPlan(together=True), "together needs square"),
        (lambda: DeepStackHdPlan(0), "at least 1 pixel, not 0"),
        (lambda: DeepStackHdPlan(336, 3), "at least 4 crops, not 3"),
        (lambda: DeepStackHdPlan(336, 100), "10000 tiles of 336x336 pixels"),
        (lambda: VaryPlan(0), "at least 1 pixel, not size 0 and crop None"),
        (lambda: VaryPlan(1024, 0), "at least 1 pixel, not size 1024 and crop 0"),
        (lambda: VaryPlan(resample="nearest"), "'bicubic' or 'bilinear', not 'nearest'"),
    ],
)
def test_settings_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()
