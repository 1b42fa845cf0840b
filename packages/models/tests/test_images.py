"""Pictures with every kind of defect."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from foveal.core import Size
from foveal.models import BadImageError, image_size, read_image
from foveal.models.views.read_image import ORIENTATION


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_a_plain_one(tmp_path, picture):
    path = saved(tmp_path, picture, "a.png")
    assert np.array_equal(np.array(read_image(path)), np.array(picture))
    assert np.array_equal(np.array(read_image(path.read_bytes())), np.array(picture))
    assert image_size(path) == (60, 40)


def test_missing(tmp_path):
    with pytest.raises(BadImageError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png")


def test_what_may_not_be_read_is_not_called_missing():
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        path = saved(Path(folder), Image.new("RGB", (2, 2)), "a.png")
        for locked in (path, path.parent):
            locked.chmod(0)
            os.seteuid(user or 65534)
            try:
                with pytest.raises(BadImageError, match=r"a\.png: cannot be read .*Permission denied"):
                    read_image(path)
            finally:
                os.seteuid(user)
                locked.chmod(0o755)


def test_empty(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(BadImageError, match=r"empty\.png: the file is empty"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.webp", "cut.gif", "cut.bmp"])
def test_truncated(tmp_path, picture, name):
    path = saved(tmp_path, picture, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImageError, match=rf"{name}: (damaged or truncated|not a picture|cannot be read)"):
        read_image(path)


def test_a_png_that_ends_inside_of_its_pixels_is_known_by_its_chunks(tmp_path):
    path = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-12])  # without the chunk that marks the end, which nobody needs
    assert image_size(path) == Size(64, 64)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match=r"cut\.png: damaged or truncated picture .the file ends inside"):
        image_size(path)


def test_a_web_page_by_the_name_of_a_picture(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(BadImageError, match=r"a\.jpg: not a picture"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match=r"a\.jpg: not a picture"):
        image_size(tmp_path / "a.jpg")


def test_sixty_megapixels_are_refused_before_they_are_decoded(tmp_path):
    path = saved(tmp_path, Image.new("1", (10_000, 6_000)), "big.png")
    with pytest.raises(BadImageError, match=r"big\.png: 10000x6000 pixels, more than the limit of 50000000"):
        read_image(path)
    bomb = saved(tmp_path, Image.new("1", (20_000, 20_000)), "bomb.png")
    with pytest.raises(BadImageError, match=r"bomb\.png: .*more .*than the limit"):
        image_size(bomb)


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "ink.jpg")
    red, green, blue = read_image(path).getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 1), 1)
    path = saved(tmp_path, image, "p.png", transparency=0)
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)
    assert read_image(path).getpixel((1, 1)) == (0, 255, 0)


def test_alpha_is_put_on_white(tmp_path):
    path = saved(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "a.png")
    assert read_image(path).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    path = saved(tmp_path, Image.fromarray(values), "deep.png")
    assert [read_image(path).getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


@pytest.mark.parametrize(("top", "greys"), [(4095, [0, 125, 255]), (4096, [0, 8, 16])])
def test_twelve_of_sixteen_bits(tmp_path, top, greys):
    """White is 4095 if nothing is above it; more than that is dark."""
    path = saved(tmp_path, Image.fromarray(np.array([[0, 2008, top]], dtype=np.uint16)), "twelve.png")
    assert [read_image(path).getpixel((x, 0))[0] for x in range(3)] == greys


WITHIN = """
import resource, sys
from pathlib import Path
from foveal.models import read_image

taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]) * 1_000_000,) * 2)
try:
    print(read_image(sys.argv[2]).size)
except MemoryError:
    print("too much memory")
"""


def within(megabytes, path):
    """The size of a picture that is read in a new process, without free memory, which may take so much more."""
    words = [sys.executable, "-c", WITHIN, str(megabytes), str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_large_picture_of_sixteen_bits_takes_little_memory(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((7000, 7000), 30_000, dtype=np.uint16)), "large.png")
    assert path.stat().st_size < 200_000
    assert within(300, path) == "(7000, 7000)"
    assert within(100, path) == "too much memory"


@pytest.mark.parametrize("size", [(50_000_000, 1), (1, 50_000_000), (65_536, 1)])
def test_a_thread_that_is_too_long(tmp_path, size):
    path = saved(tmp_path, Image.new("1", size), "thread.png")
    for read in (read_image, image_size):
        with pytest.raises(
            BadImageError, match=rf"thread\.png: {size[0]}x{size[1]} pixels, a side longer than .*65535"
        ):
            read(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_strips_are_not_seen(tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 256, (1500, 1100, 4), dtype=np.uint8)
    channels = {"RGBA": 4, "LA": 2, "P": 1}[mode]
    picture = Image.fromarray(values[..., :channels].squeeze())
    options = {}
    if mode == "P":
        picture = picture.convert("P")
        options = {"transparency": bytes(range(256))}
    path = saved(tmp_path, picture, "a.png", **options)
    transparent = Image.open(path).convert("RGBA")
    ground = Image.new("RGBA", transparent.size, (255, 255, 255, 255))
    expected = Image.alpha_composite(ground, transparent).convert("RGB")
    assert np.array_equal(np.array(read_image(path)), np.array(expected))


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_other_modes(tmp_path, mode):
    path = saved(tmp_path, Image.new(mode, (4, 4)), "a.png")
    assert read_image(path).mode == "RGB"


def test_rotation_of_cameras_is_applied(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, picture, "turned.png", exif=exif)
    assert read_image(path).size == (40, 60) == image_size(path)
    assert np.array_equal(np.array(read_image(path)), np.rot90(np.array(picture), -1))


@pytest.fixture
def decoded(monkeypatch):
    """Records every decoding of pixels."""
    seen = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (seen.append(self.format), load(self))[1])
    return seen


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "gif"])
def test_sizes_need_no_pixels(tmp_path, picture, kind, decoded):
    path = saved(tmp_path, picture, f"a.{kind}")
    assert image_size(path) == image_size(path.read_bytes()) == (60, 40)
    assert decoded == []


def with_exif_behind_the_pixels(picture):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    file = io.BytesIO()
    picture.save(file, "PNG")
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return file.getvalue()[:-12] + chunk + file.getvalue()[-12:]


def test_rotation_that_stands_behind_the_pixels(picture):
    data = with_exif_behind_the_pixels(picture)
    assert read_image(data).size == (40, 60) == image_size(data)


@pytest.mark.parametrize("deep", [False, True])
def test_whatever_is_damaged_is_told_or_read(picture, deep):
    """Whatever the bytes, no error other than ours is raised."""
    if deep:
        picture = Image.fromarray(np.array(picture)[..., 0].astype(np.uint16) * 257)
    file = io.BytesIO()
    picture.save(file, "PNG")
    generator = np.random.default_rng(0)
    for _ in range(200):
        data = np.frombuffer(file.getvalue(), dtype=np.uint8).copy()
        data[generator.integers(8, 80, 4)] = generator.integers(0, 256, 4)
        for read in (read_image, image_size):
            with contextlib.suppress(BadImageError):
                read(data.tobytes())


def test_a_thread(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (1, 4000)), "thread.png")
    assert read_image(path).size == (1, 4000)


def test_bytes_that_are_no_picture():
    with pytest.raises(BadImageError, match="the given bytes: not a picture"):
        read_image(io.BytesIO(b"nothing").getvalue())
