"""Pictures from files, whatever they are."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from PIL.Image import Image

from foveal.core import Size

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 50_000_000
ORIENTATION = 0x0112


class BadImageError(ValueError):
    """A picture that cannot be used; the message names it and says why."""


def read_image(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture as RGB, upright.

    EXIF rotation is applied; transparency is put on white; palettes, grey, CMYK and 16 bits are converted; of an
    animation the first frame is taken.

    Args:
        source: a file (JPEG, PNG, WEBP, BMP or GIF) or its bytes.
        max_pixels: refuse more pixels than this before decoding them.

    Raises:
        BadImageError: if the file is missing, empty, truncated, no picture or too large.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _opened(source, name, max_pixels) as picture:
        try:
            picture.load()
            return _as_rgb(ImageOps.exif_transpose(picture))
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise BadImageError(f"{name}: damaged or truncated picture ({error})") from error


def image_size(source: str | Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Size:
    """The size of the upright picture, without decoding it.

    The one exception is a PNG with text or EXIF after its pixels, which Pillow reads only together with them. A PNG
    that ends inside of its pixels is refused, since its chunks tell.

    Raises:
        BadImageError: as `read_image`, as far as the header tells.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with _opened(source, name, max_pixels) as picture:
        size = Size.of(picture.size)
        try:
            if picture.format == "PNG" and _has_metadata_behind_pixels(source):
                picture.load()
            # Not picture.getexif(): a PNG's would decode the pixels in search of what the line above has ruled out.
            orientation = Image.getexif(picture).get(ORIENTATION, 1)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise BadImageError(f"{name}: damaged or truncated picture ({error})") from error
        return Size(size.height, size.width) if orientation in (5, 6, 7, 8) else size


def _opened(source: str | Path | bytes, name: str, max_pixels: int) -> Image:
    """The picture with its header read and nothing decoded."""
    if not isinstance(source, bytes):
        path = Path(source)
        if not path.is_file():
            raise BadImageError(f"{name}: there is no such file")
        if path.stat().st_size == 0:
            raise BadImageError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Our own limit is checked right below; Pillow's would only warn.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            picture = Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name}: not a picture of a known kind ({', '.join(FORMATS)})") from error
    except Pillow.DecompressionBombError as error:
        raise BadImageError(f"{name}: more pixels than the limit of {max_pixels} ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadImageError(f"{name}: cannot be read ({error})") from error
    size = Size.of(picture.size)
    if size.area > max_pixels:
        picture.close()
        raise BadImageError(f"{name}: {size} pixels, more than the limit of {max_pixels}; make it smaller")
    return picture


def _has_metadata_behind_pixels(source: str | Path | bytes) -> bool:
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
    if picture.mode.startswith(("I", "F")):
        # 16 bits: convert() would clip everything above 255 to white.
        values = np.asarray(picture, dtype=np.float64)
        return Pillow.fromarray((values / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        transparent = picture.convert("RGBA")
        ground = Pillow.new("RGBA", transparent.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(ground, transparent).convert("RGB")
    return picture.convert("RGB")
