"""Small copies of pictures, as large as a page with all of them can hold."""

import hashlib
import io
from bisect import bisect_left
from collections.abc import Iterator
from math import sqrt
from tempfile import TemporaryFile

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

SIDES = (640, 520, 420, 340, 270, 220, 180, 150, 120, 96)
"""Square roots of the areas that are tried, in pixels. A receipt can be read at the first ones."""
AT_FIRST = 400
"""Number of pictures up to which copies are made as large as possible."""
LONGEST = 4
"""Longest side, in square roots of the area."""
QUALITY = 45
SAMPLED = 64


class Thumbnails:
    """Copies of pictures as WebP, each once, in a temporary file until their number is known.

    Copies in the file become smaller the more there are, so that it does not grow much larger than the page.
    """

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115
        self._ends: list[int] = []
        self._numbers: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Number of different pictures."""
        return len(self._ends)

    def add(self, picture: Image) -> int:
        """The number of a picture's copy, which is made unless there is one already.

        Args:
            picture: RGB.
        """
        found = hashlib.blake2b(picture.tobytes(), digest_size=16, key=f"{picture.size}".encode()).digest()
        if found in self._numbers:
            return self._numbers[found]
        side = SIDES[0] * sqrt(AT_FIRST / max(len(self), AT_FIRST))
        encoded = _encoded(picture, max(side, SIDES[-1]))
        self._file.seek(0, io.SEEK_END)
        self._file.write(encoded)
        self._ends.append(self._file.tell())
        return self._numbers.setdefault(found, len(self._numbers))

    def fitted(self, budget: int) -> Iterator[bytes]:
        """All copies in order, at the largest of `SIDES` at which they take about `budget` bytes.

        If they are too many for the smallest one, that is used.
        """
        stored = self._ends[-1] if self._ends else 0
        first = 0 if stored <= budget else bisect_left(SIDES, True, key=lambda side: self._estimate(side) <= budget)
        side = SIDES[min(first, len(SIDES) - 1)]
        for number in range(len(self)):
            yield self._at_most(number, side)

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def _estimate(self, side: int) -> float:
        """About how many bytes all copies take, from some of them."""
        some = range(0, len(self), max(len(self) // SAMPLED, 1))
        return sum(len(self._at_most(number, side)) for number in some) / max(len(some), 1) * len(self)

    def _at_most(self, number: int, side: int) -> bytes:
        begin = self._ends[number - 1] if number else 0
        self._file.seek(begin)
        stored = self._file.read(self._ends[number] - begin)
        picture = Pillow.open(io.BytesIO(stored))  # reads only its size
        # Rounding may leave it a little larger than the area.
        if max(_fitting(picture.size, side)) > 0.98 * max(picture.size):
            return stored
        return _encoded(picture.convert("RGB"), side)


def _encoded(picture: Image, side: float) -> bytes:
    size = _fitting(picture.size, side)
    if size != picture.size:
        picture = picture.resize(size, Resampling.LANCZOS, reducing_gap=2.0)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY, method=2)
    return stream.getvalue()


def _fitting(size: tuple[int, int], side: float) -> tuple[int, int]:
    """A size of the same shape, with an area of at most `side` squared; never larger than the picture."""
    width, height = size
    scale = min(1.0, side / sqrt(width * height), LONGEST * side / max(size))
    return max(1, round(width * scale)), max(1, round(height * scale))
