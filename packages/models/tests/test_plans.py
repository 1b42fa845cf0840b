"""View plans: reference tables and pixels, and properties for any picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Size, build, describe
from foveal.models import CropToSquare, PadToSquare, UhdPlan
from foveal.models.views import square

SIDES = st.integers(1, 3000)
CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def pixels(view):
    return torch.from_numpy(np.array(view)).permute(2, 0, 1)


@pytest.mark.parametrize(("plan", "name"), [(PadToSquare, "pad"), (CropToSquare, "square")])
def test_square_views_pixel_for_pixel(golden, plan, name):
    tensors = golden("llava/preprocess").tensors
    for number in sorted({key.split(".")[0] for key in tensors}):
        image = Image.fromarray(tensors[f"{number}.input_rgb_hwc"].numpy())
        for size, step in ((48, 1), (336, 12)):
            (view,) = plan(size).cut(image)
            ours = (pixels(view) / 255 - CLIP_MEAN) / CLIP_STD
            suffix = "" if step == 1 else f"_every{step}"
            expected = tensors[f"{number}.{name}.pixel_values_{size}{suffix}"].reshape(3, size // step, size // step)
            torch.testing.assert_close(ours[:, ::step, ::step], expected, atol=1e-5, rtol=0)


def agrees(plan, width, height, row):
    grid, views = plan.grid(Size(width, height)), plan.views(Size(width, height))
    assert (grid and [grid.columns, grid.rows]) == row["grid"], (width, height)
    assert list(views[-1]) == row["overview"], (width, height)
    if grid is not None:
        assert list(views[0]) == row["slice"], (width, height)
        assert len(views) == grid.cells + 1
    separators = "".join(item for item in plan.layout(Size(width, height)) if isinstance(item, str))
    assert separators.replace("\n", "n") == row.get("seps", separators.replace("\n", "n"))


def test_uhd_grids_and_sizes(golden):
    meta = golden("uhd/slice_table").meta
    for row in meta["rows"]:
        for cap in (6, 7):
            agrees(UhdPlan(336, 14, cap, clamp_ratio=False), row["w"], row["h"], row[f"max{cap}"])
    for row in meta["other_parameters"]:
        agrees(UhdPlan(row["scale"], row["patch"], row["max"], clamp_ratio=False), row["w"], row["h"], row)


def test_uhd_pixels(golden):
    reference = golden("uhd/slice_pixels")
    for case in reference.meta["cases"]:
        image = Image.fromarray(reference.tensors[f"{case['name']}.image"].numpy())
        if "max_size" in case:
            plan = UhdPlan(56, 14, 6, long_side=case["max_size"])
            resized = image.resize(tuple(case["out"]), Image.Resampling.BICUBIC)
            assert np.array_equal(np.array(resized), reference.tensors[f"{case['name']}.resized"].numpy())
            assert [np.array(view).tolist() for view in plan.cut(image)] == [
                np.array(view).tolist() for view in UhdPlan(56, 14, 6).cut(resized)
            ]
            continue
        *slices, overview = UhdPlan(56, 14, case["max_slices"]).cut(image)
        assert np.array_equal(np.array(overview), reference.tensors[f"{case['name']}.overview"].numpy())
        for ours, expected in zip(slices, reference.tensors.get(f"{case['name']}.slices", []), strict=True):
            assert np.array_equal(np.array(ours), expected.numpy())


@settings(deadline=None)
@given(SIDES, SIDES, st.integers(1, 12))
def test_uhd_views_fit_the_encoder(width, height, cap):
    plan = UhdPlan(336, 14, cap)
    views = plan.views(Size(width, height))
    assert 1 <= len(views) <= cap + 1
    for view in views:
        assert view.width % 14 == 0
        assert view.height % 14 == 0
        assert view.area <= 336 * 336
    numbers = [item for item in plan.layout(Size(width, height)) if isinstance(item, int)]
    assert numbers == list(range(len(views)))
    assert len(plan.layout(Size(width, height))) == 2 * len(views) - 1


@settings(deadline=None)
@given(SIDES, SIDES)
def test_uhd_turned_picture_has_the_turned_grid(width, height):
    plan = UhdPlan()
    grid, turned = plan.grid(Size(width, height)), plan.grid(Size(height, width))
    if grid is None or turned is None:
        assert grid == turned
    elif max(width, height) > 1.01 * min(width, height):  # squares are ties
        assert turned == grid[::-1]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(["last", "first"]), st.booleans())
def test_what_is_cut_is_what_was_promised(width, height, place, overview_only):
    image = Image.new("RGB", (width, height))
    plans = [PadToSquare(28), CropToSquare(28), UhdPlan(56, 14, 6, overview=place, overview_only=overview_only)]
    for plan in plans:
        assert [view.size for view in plan.cut(image)] == list(plan.views(Size(width, height)))
        assert all(view.mode == "RGB" for view in plan.cut(image))


def test_slices_cover_every_pixel_once():
    gradient = np.add.outer(np.arange(112), 2 * np.arange(112)) % 256
    image = Image.fromarray(np.repeat(gradient[..., None], 3, axis=2).astype(np.uint8))
    plan = UhdPlan(56, 14, 6)
    *slices, _ = plan.cut(image)
    rows, columns = plan.grid(Size(112, 112))
    whole = np.vstack(
        [np.hstack([np.array(slices[row * columns + column]) for column in range(columns)]) for row in range(rows)]
    )
    expected = image.resize(whole.shape[1::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(whole, np.array(expected))


def test_overview_first_and_no_separators():
    plan = UhdPlan(56, 14, 6, overview="first")
    last = UhdPlan(56, 14, 6)
    assert plan.views(Size(131, 97)) == (last.views(Size(131, 97))[-1], *last.views(Size(131, 97))[:-1])
    assert plan.layout(Size(131, 97))[:3] == (0, 1, ",")
    assert UhdPlan(56, 14, 6, separators=False).layout(Size(131, 97)) == tuple(range(7))


def test_one_by_four_thousand():
    for plan in (UhdPlan(), PadToSquare(), CropToSquare()):
        for size in ((1, 4000), (4000, 1)):
            cut = plan.cut(Image.new("RGB", size))
            assert [view.size for view in cut] == list(plan.views(Size(*size)))


def test_a_shape_whose_canvas_would_not_fit_into_memory():
    (view,) = PadToSquare(100).cut(Image.new("RGB", (60_000, 800), "white"))
    assert view.size == (100, 100)
    assert view.getpixel((50, 48)) == (118, 112, 99)  # 1.33 rows of picture: mixed with the canvas, as in the reference
    assert view.getpixel((50, 49)) == (215, 213, 210)
    assert view.getpixel((50, 40)) == (122, 116, 104)


@pytest.mark.parametrize("size", [(300, 40), (40, 301), (300, 2)])
def test_a_canvas_that_is_not_made_gives_the_same_pixels(size, monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    (expected,) = PadToSquare(28).cut(Image.fromarray(values))
    monkeypatch.setattr(square, "LARGEST_CANVAS", 10_000)
    (ours,) = PadToSquare(28).cut(Image.fromarray(values))
    assert np.abs(np.array(ours).astype(int) - np.array(expected)).max() <= 2


def test_a_strip_too_long_for_any_canvas():
    with pytest.raises(ValueError, match="1x600000 pixels is too long for a square canvas: at most 595238 pixels"):
        PadToSquare().cut(Image.new("RGB", (1, 600_000)))


def test_described_and_built_again():
    for plan in (UhdPlan(56, 14, 7, overview="first"), PadToSquare(28, fill=(1, 2, 3)), CropToSquare(28)):
        assert describe(build(describe(plan))) == describe(plan)


def test_faults():
    with pytest.raises(ValueError, match="0x5 pixels has no area"):
        UhdPlan().views(Size(0, 5))
    with pytest.raises(ValueError, match="scale 7 must be at least the patch 14"):
        UhdPlan(7, 14)
    with pytest.raises(ValueError, match="must come 'last' or 'first', not 'middle'"):
        UhdPlan(overview="middle")
    with pytest.raises(ValueError, match="long_side must be at least 1 pixel, not 0"):
        UhdPlan(long_side=0)
    for plan in (PadToSquare, CropToSquare):
        with pytest.raises(ValueError, match="at least 1 pixel, not 0"):
            plan(0)
