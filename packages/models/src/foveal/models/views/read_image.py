"""Read pictures of any common format from files."""

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Image

from foveal.core import Size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
MAX_PIXELS = 50_000_000
MAX_SIDE = 65_535
"""Pixels of the longer side, as in JPEG; a thread of fifty million pixels is no picture, and no plan can cut it."""
TWELVE_BITS, SIXTEEN_BITS = 4095, 65_535
STRIP = 1_000_000
"""Pixels that are converted at a time, where the conversion takes several times their memory."""
ORIENTATION = 0x0112
DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(AssertionError, RuntimeError, struct.error),
)
"""What Pillow raises for a picture that it cannot decode: whatever its plugins run into."""


class BadImageError(ValueError):
    """A picture that cannot be used; the message names it and says why."""


def read_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture as upright RGB.

    EXIF rotation is applied; transparency is put on white; palettes, grey, CMYK and 16 bits are converted; only the
    first frame of an animation is read. If no 16-bit value is above 4095, the values are taken for 12 bits, which
    cameras and scanners store in the lower ones: 4095 is white then.

    Converting a 16-bit picture takes at most five bytes per pixel.

    Args:
        source: a file (JPEG, PNG, WEBP, BMP, GIF, TIFF or AVIF) or its bytes.
        max_pixels: refuse pictures with more pixels than this before decoding them.

    Raises:
        BadImageError: if the file is missing, empty, truncated, not a picture, or larger than `max_pixels` or
            `MAX_SIDE`.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with opened(source, name, max_pixels) as picture:
        return upright_rgb(picture, name)


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Size:
    """The size of the upright picture, without decoding it.

    The only exception is a PNG with text or EXIF after its pixels, which Pillow can only read by decoding them. A PNG
    that ends before its last chunk of pixels is refused.

    Raises:
        BadImageError: as for `read_image`, for what the header shows.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with opened(source, name, max_pixels) as picture:
        size = Size.of(picture.size)
        try:
            if picture.format == "PNG" and _has_metadata_after_pixels(source):
                picture.load()
        except DAMAGED as error:
            raise BadImageError(f"{name}: damaged or truncated picture ({error})") from error
        return Size(size.height, size.width) if orientation_of(picture, name) in (5, 6, 7, 8) else size


def orientation_of(picture: Image, name: str) -> int:
    """The EXIF orientation of an opened picture, 1 if it has none.

    Raises:
        BadImageError: if its EXIF is damaged.
    """
    try:
        # Not picture.getexif(): for a PNG it would decode the pixels to search for more.
        return int(Image.getexif(picture).get(ORIENTATION, 1))
    except DAMAGED as error:
        raise BadImageError(f"{name}: damaged or truncated picture ({error})") from error


def upright_rgb(picture: Image, name: str) -> Image:
    """Decode an opened picture as upright RGB.

    Raises:
        BadImageError: if it is damaged.
    """
    try:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _as_rgb(picture)
    except DAMAGED as error:
        raise BadImageError(f"{name}: damaged or truncated picture ({error})") from error


def opened(source: str | Path | bytes, name: str, max_pixels: int) -> Image:
    """Open the picture: read its header, decode nothing.

    Raises:
        BadImageError: as for `read_image`, for what the header shows.
    """
    if not isinstance(source, bytes):
        path = Path(source)
        try:
            if not path.is_file():
                raise BadImageError(f"{name}: there is no such file")
            if path.stat().st_size == 0:
                raise BadImageError(f"{name}: the file is empty")
        except OSError as error:
            raise BadImageError(f"{name}: cannot be read ({error.strerror})") from error
    try:
        with warnings.catch_warnings():
            # Our own limit is checked right below, and damage raises an error; Pillow would only warn.
            warnings.simplefilter("ignore")
            picture = Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
            several = picture.format == "TIFF" and _has_further_pages(picture)
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name}: not a picture of a known kind ({', '.join(FORMATS)})") from error
    except Pillow.DecompressionBombError as error:
        raise BadImageError(f"{name}: more pixels than the limit of {max_pixels} ({error})") from error
    except DAMAGED as error:
        raise BadImageError(f"{name}: cannot be read ({error})") from error
    if several:
        picture.close()
        raise BadImageError(f"{name}: a TIFF of several pages; make each page a file of its own")
    size = Size.of(picture.size)
    if size.area > max_pixels:
        picture.close()
        raise BadImageError(f"{name}: {size} pixels, more than the limit of {max_pixels}; make it smaller")
    if max(size) > MAX_SIDE:
        picture.close()
        raise BadImageError(f"{name}: {size} pixels, a side longer than the limit of {MAX_SIDE}; cut it")
    return picture


def _has_further_pages(picture: Image) -> bool:
    """Whether a TIFF has more than one page; scanned documents do."""
    try:
        picture.seek(1)
    except DAMAGED:
        return False
    return True


def _has_metadata_after_pixels(source: str | Path | bytes) -> bool:
    """Whether a PNG has text or EXIF after its pixels, as some programs write it.

    Raises:
        EOFError: if the file ends inside of the pixels.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
        end = file.seek(0, io.SEEK_END)
        file.seek(8)
        pixels_seen = False
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if pixels_seen and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            if kind == b"IDAT" and file.tell() + length > end:
                raise EOFError("the file ends inside of its pixels")
            pixels_seen = pixels_seen or kind == b"IDAT"
            file.seek(length + 4, io.SEEK_CUR)
    return False


def _as_rgb(picture: Image) -> Image:
    """As RGB; what is converted in several steps is freed."""
    if picture.mode.startswith(("I", "F")):
        low, high = np.min(picture.getextrema()), np.max(picture.getextrema())
        if picture.mode == "F" or low < 0 or high > SIXTEEN_BITS:
            raise ValueError(f"values from {low:g} to {high:g} in 32 bits: save it with 8 or 16 bits")
        # convert() would clip everything above 255 to white.
        white = TWELVE_BITS if high <= TWELVE_BITS else SIXTEEN_BITS

        def grey(strip: Image) -> Image:
            values = np.asarray(strip, dtype=np.float64) * (255 / white)
            return Pillow.fromarray(values.round().clip(0, 255).astype(np.uint8))

        eight = _by_strips(picture, "L", grey)
        picture.close()
        return eight.convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        return _by_strips(picture, "RGB", _on_white)
    return picture.convert("RGB")


def _on_white(strip: Image) -> Image:
    transparent = strip.convert("RGBA")
    ground = Pillow.new("RGBA", transparent.size, (255, 255, 255, 255))
    return Pillow.alpha_composite(ground, transparent).convert("RGB")


def _by_strips(picture: Image, mode: str, convert: Callable[[Image], Image]) -> Image:
    """What `convert` makes of a picture, pixel for pixel, a strip at a time."""
    whole = Pillow.new(mode, picture.size)
    rows = max(1, STRIP // picture.width)
    for top in range(0, picture.height, rows):
        box = (0, top, picture.width, min(top + rows, picture.height))
        whole.paste(convert(picture.crop(box)), box)
    return whole
