"""JPEGs decoded at a reduced scale: nearly the same views, and the same tokens."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from foveal.core import Size, build, describe
from foveal.models import (
    AnyResPlan,
    CropToSquare,
    DeepSeekOcr2Plan,
    DeepStackHdPlan,
    DeepStackPlan,
    DynamicTilesPlan,
    MiniCpmPlan,
    NativePlan,
    OneVisionPlan,
    PadToSquare,
    Processor,
    StretchToSquare,
    Turn,
    UhdPlan,
    UhdV3Plan,
    VaryPlan,
    ViewPlan,
    byte_tokenizer,
    read_image,
)
from foveal.models.views.draft import Draft, read_draft
from foveal.models.views.read_image import ORIENTATION

GREY_LEVELS = 6
"""By how much a view may differ."""


def plans(side):
    """Every plan with views of about `side` pixels, and the scale at which it takes a picture of twelve such sides."""
    return {
        "pad": (PadToSquare(side, draft=True), 4),
        "crop": (CropToSquare(side, draft=True), 2),
        "stretch": (StretchToSquare(side, draft=True), 2),
        "native": (NativePlan(side // 8, side * side // 4, side * side, draft=True), 4),
        "uhd": (UhdPlan(side, 14, draft=True), 2),
        "uhd_resized": (UhdPlan(side, 14, long_side=2 * side, draft=True), 2),
        "minicpm": (MiniCpmPlan(side, 28, 4, draft=True), 2),
        "uhd_v3": (UhdV3Plan(14, side, smallest=side // 2, longest=4 * side, draft=True), 4),
        "anyres": (AnyResPlan(side, draft=True), 2),
        "onevision": (OneVisionPlan(side, draft=True), 1),
        "deepstack": (DeepStackPlan(side, draft=True), 2),
        "deepstack_aspect": (DeepStackPlan(side, keep_aspect=True, draft=True), 2),
        "deepstack_hd": (DeepStackHdPlan(side, draft=True), 1),
        "deepseek_ocr2": (DeepSeekOcr2Plan(2 * side, side, 4, draft=True), 2),
        "dynamic_tiles": (DynamicTilesPlan(side, 4, draft=True), 2),
        "vary": (VaryPlan(2 * side, side, draft=True), 2),
    }


def photo(width, height, **options):
    """A page in front of something coloured, as soft as photographs are, as a JPEG."""
    small = Image.fromarray(np.random.default_rng(0).integers(60, 200, (6, 8, 3), dtype=np.uint8))
    scene = small.resize((width // 4, height // 4), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(scene)
    draw.rectangle((width // 16, height // 16, width // 6, height // 5), "white", "black", 3)
    for line in range(8):
        size = max(10, height // 120 + 4 * line)
        draw.text((width // 14, height // 14 + line * height // 70), f"Total {line} 12.50", "black", font_size=size)
    stream = io.BytesIO()
    scene.resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def processor(plan):
    return Processor(byte_tokenizer(), plan, count=lambda size: [size.width % 97 + 1], max_length=4096)


def farthest(plan, drafted, data):
    whole = plan.cut(read_image(data))
    cut = plan.cut_draft(drafted)
    assert [view.size for view in cut] == [view.size for view in whole] == list(plan.views(drafted.size))
    return max(
        np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max() for a, b in zip(cut, whole, strict=True)
    )


def check(plan, scale, width, height):
    data = photo(width, height)
    drafted = read_draft(data, plan.sharpest)
    assert (drafted.size, drafted.image.size) == (Size(width, height), (width // scale, height // scale))
    sharpest = plan.sharpest(drafted.size)
    assert scale == 1 or all(side >= 2 * shown for side, shown in zip(drafted.image.size, sharpest, strict=True))
    assert farthest(plan, drafted, data) <= GREY_LEVELS


@pytest.mark.parametrize("name", plans(84))
def test_views_are_nearly_the_same(name):
    check(*plans(84)[name], 1008, 756)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(4032, 3024), (3024, 4032)])
@pytest.mark.parametrize("name", plans(336))
def test_twelve_megapixels(name, width, height):
    check(*plans(336)[name], width, height)


@pytest.mark.parametrize(("width", "height"), [(1000, 608), (608, 1000), (1000, 104), (1000, 1000)])
def test_padding_that_is_no_whole_number_of_pixels(width, height):
    plan = PadToSquare(32, draft=True)
    data = photo(width, height)
    drafted = read_draft(data, plan.sharpest)
    assert drafted.image.size == (width // 8, height // 8)
    assert farthest(plan, drafted, data) <= GREY_LEVELS


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = photo(1008, 504, exif=exif)
    plan = AnyResPlan(56, draft=True)
    drafted = read_draft(data, plan.sharpest)
    assert drafted.size == Size.of(read_image(data).size)
    assert max(drafted.image.size) == 504
    assert farthest(plan, drafted, data) <= GREY_LEVELS


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_printed_pictures(mode):
    stream = io.BytesIO()
    read_image(photo(1008, 756)).convert(mode).save(stream, "JPEG")
    plan = CropToSquare(84, draft=True)
    drafted = read_draft(stream.getvalue(), plan.sharpest)
    assert (drafted.mode, drafted.image.size) == ("RGB", (504, 378))
    assert farthest(plan, drafted, stream.getvalue()) <= GREY_LEVELS


def test_tokens_depend_on_the_whole_picture():
    data, turns = photo(1008, 756), [Turn("user", "<image>\nWhat?"), Turn("assistant", "A page.")]
    whole, reduced = processor(UhdPlan(84)), processor(UhdPlan(84, draft=True))
    assert isinstance(reduced.read(data), Draft)
    expected, found = whole.encode([whole.read(data)], turns), reduced.encode([reduced.read(data)], turns)
    assert found.sizes == expected.sizes == (Size(1008, 756),)
    assert found.input_ids.tolist() == expected.input_ids.tolist()
    assert [view.shape for view in found.views] == [view.shape for view in expected.views]


@pytest.mark.parametrize("kind", ["PNG", "odd", "small"])
def test_what_is_decoded_whole(kind):
    """Other formats, sides that cannot be halved, and pictures with too few pixels: exactly as without the option."""
    data = photo(*{"PNG": (1008, 756), "odd": (1009, 755), "small": (160, 120)}[kind])
    if kind == "PNG":
        stream = io.BytesIO()
        read_image(data).save(stream, "PNG")
        data = stream.getvalue()
    turns = [Turn("user", "<image>\nWhat?")]
    whole, reduced = processor(PadToSquare(84)), processor(PadToSquare(84, draft=True))
    expected, found = (each.encode_prompt([each.read(data)], turns) for each in (whole, reduced))
    assert found.views[0].equal(expected.views[0])


@pytest.mark.parametrize("name", plans(84))
def test_the_option_is_in_checkpoints_and_off_by_default(name):
    plan, _ = plans(84)[name]
    assert build(describe(plan)).draft
    described = describe(plan)
    del described["init_args"]["draft"]
    assert not build(described).draft


def test_plans_that_cannot():
    with pytest.raises(ValueError, match="draft needs resample bicubic"):
        VaryPlan(resample="bilinear", draft=True)

    class Own(ViewPlan):
        draft = True

        def views(self, picture):
            return (picture,)

        def cut(self, image):
            return [image]

    with pytest.raises(NotImplementedError, match="Own has no option draft"):
        processor(Own()).read(photo(64, 64))
