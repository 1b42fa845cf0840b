"""Pictures as people have them in Python."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from foveal.models import BadImageError, image_size, read_image
from foveal.models.views.any_picture import rgb_of

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def same(picture, expected=PIXELS):
    found = rgb_of(picture)
    assert found.mode == "RGB"
    return np.array_equal(np.asarray(found), expected)


def test_one_picture_in_every_form(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.png")
    forms = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), image, PIXELS]
    forms += [PIXELS / 255, (PIXELS / 255).astype(np.float32), np.dstack([PIXELS, np.full((6, 9), 255, np.uint8)])]
    forms += [PIXELS[:, ::-1][:, ::-1], np.asfortranarray(PIXELS), image.convert("RGBA")]
    assert all(same(each) for each in forms)


def test_one_channel():
    grey = PIXELS[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    wide = grey.astype(np.uint16) * 257
    for each in (grey, grey[..., None], wide, Image.fromarray(grey), Image.fromarray(grey).convert("LA")):
        assert same(each, expected)
    black = np.zeros((2, 2), dtype=bool)
    assert same(~black, np.full((2, 2, 3), 255, dtype=np.uint8))
    assert same(Image.fromarray(black), np.zeros((2, 2, 3), dtype=np.uint8))


def test_what_is_given_stays_as_it_is():
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).convert("P").save(stream, "PNG", exif=exif)
    palette = Image.open(stream)
    before = palette.tobytes()
    assert rgb_of(palette).size == (6, 9)  # upright
    assert (palette.mode, palette.size, palette.tobytes()) == ("P", (9, 6), before)
    rgb = Image.fromarray(PIXELS)
    assert rgb_of(rgb) is not rgb


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), dtype=np.uint8), r"an array of shape \[3, 4, 5\] is no picture: give \[height, width\]"),
        (np.zeros((0, 4), dtype=np.uint8), r"shape \[0, 4\]"),
        (np.zeros(4, dtype=np.uint8), r"shape \[4\]"),
        (np.zeros((1, 70_000), dtype=np.uint8), "a side longer than the limit of 65535"),
        (np.full((2, 2), 200.0), r"an array of float64 must be in 0\.\.1, not 200\.\.200"),
        (np.full((2, 2), np.nan), "must be in 0..1, not nan"),
        (np.zeros((2, 2), dtype=np.int64), "int64 and shape .* is no picture: give uint8"),
        (np.zeros((2, 2, 3), dtype=np.uint16), "uint16 and shape .* is no picture: give uint8"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(BadImageError, match=message):
        rgb_of(array)


def test_other_things():
    with pytest.raises(TypeError, match="a picture is a file, bytes, an image of Pillow or an array, not int"):
        rgb_of(3)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_further_kinds_of_files(tmp_path, kind):
    path = tmp_path / "a"
    Image.new("RGB", (9, 6), (200, 100, 50)).save(path, kind)
    assert image_size(path) == (9, 6)
    assert np.abs(np.asarray(read_image(path), dtype=int) - (200, 100, 50)).max() <= 2
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadImageError, match=str(path)):
        read_image(path)


def test_whatever_a_library_raises_is_a_bad_picture(monkeypatch):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    for error in (TypeError("Missing dimensions"), struct.error("unpack"), RuntimeError("no item"), KeyError(3)):

        def fail(*given, raised=error, **options):
            raise raised

        monkeypatch.setattr(PngImageFile, "load", fail)
        with pytest.raises(BadImageError, match="the given bytes: damaged or truncated"):
            read_image(stream.getvalue())


def test_tiffs_that_would_lose_something(tmp_path):
    page = Image.fromarray(PIXELS)
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page])
    for read in (read_image, image_size):
        with pytest.raises(BadImageError, match=r"pages\.tif: a TIFF of several pages; make each page a file"):
            read(tmp_path / "pages.tif")
    for values in (np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70_000, np.int32), np.full((2, 2), -1, np.int32)):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, "TIFF")
        with pytest.raises(BadImageError, match="in 32 bits: save it with 8 or 16 bits"):
            read_image(stream.getvalue())
