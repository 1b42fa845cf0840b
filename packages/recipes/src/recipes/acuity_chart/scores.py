"""What was read of a page, and what the answers of all pages say about a model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean
from typing import TypeVar

from rapidfuzz.distance import Levenshtein

from foveal.core import Box, Grid, Size
from recipes.acuity_chart.pages import Printed
from recipes.acuity_chart.seams import Seam

K = TypeVar("K")
LONGEST = 2
"""An answer with more characters than this times the page's is no reading: among enough characters all are found."""

COMPARED = 200
"""A page is compared with the answers of at most this many others, for the level of chance."""
IN_A_CELL = 12
"""Characters in a cell of a map, on average: fewer would show chance more than place."""


@dataclass(frozen=True)
class Answered:
    """A page, and what a model answered.

    Attributes:
        page: what is on it.
        answer: as the model gave it.
        read: which characters of the page were read.
        across: which characters lie across a seam of this model.
    """

    page: Printed
    answer: str
    read: tuple[bool, ...]
    across: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """Share of the page's characters that were read."""
        return fmean(self.read)


@dataclass(frozen=True)
class Tally:
    """Characters that were read, of all that were shown."""

    read: int
    shown: int

    @property
    def accuracy(self) -> float:
        """The share; 0 if none was shown."""
        return self.read / self.shown if self.shown else 0.0


@dataclass(frozen=True)
class SeamTally:
    """Characters across seams, and those beside them on the same pages.

    Attributes:
        across: the former.
        beside: the share of the latter that was read, every page counting as often as it has characters across.
    """

    across: Tally
    beside: float


def answered(page: Printed, answer: str, alphabet: str, seams: Sequence[Seam]) -> Answered:
    """Compare an answer with its page."""
    across = tuple(any(seam.cuts(box) for seam in seams) for box in page.boxes)
    return Answered(page, answer, characters_read(page.text, answer, alphabet), across)


def characters_read(text: str, answer: str, alphabet: str) -> tuple[bool, ...]:
    """Which characters of a text are in the answer, in their order: those that the shortest edit leaves as they are.

    Of the answer, only characters of the alphabet count: spaces, punctuation and words around a number are no errors.
    Case counts only if the alphabet has both.

    Args:
        text: what is on the page.
        answer: as the model gave it.
        alphabet: of the chart.
    """
    given = "".join(each for each in _folded(answer, alphabet) if each in alphabet)
    if len(given) > LONGEST * len(text):
        return (False,) * len(text)
    read = [False] * len(text)
    for edit in Levenshtein.opcodes(text, given):
        if edit.tag == "equal":
            read[edit.src_start : edit.src_end] = [True] * (edit.src_end - edit.src_start)
    return tuple(read)


def chance_level(results: Sequence[Answered], alphabet: str) -> float:
    """The share that the same answers score on each other's pages: what is right without having been seen.

    Args:
        results: of pages with characters of the same height, at which they are hardest to read.
        alphabet: of the chart.
    """
    others = [[*results[number + 1 :], *results[:number]][:COMPARED] for number in range(len(results))]
    pairs = [
        fmean(characters_read(shown.page.text, other.answer, alphabet))
        for shown, answers in zip(results, others, strict=True)
        for other in answers
    ]
    return fmean(pairs) if pairs else 1 / len(alphabet)


def by(results: Iterable[Answered], key: Callable[[Answered], K]) -> dict[K, Tally]:
    """Characters read for each value of a key, such as the font, in the order in which they first occur."""
    return _counted((key(each), flag) for each in results for flag in each.read)


def by_seam(results: Iterable[Answered]) -> SeamTally | None:
    """Characters read across a seam, and beside it; None: there is no page with both.

    Only pages with both are compared: large characters are cut more often, and some sizes of pages have no seams.
    """
    across, beside = [], 0.0
    for each in results:
        pairs = list(zip(each.read, each.across, strict=True))
        cut, whole = ([read for read, at in pairs if at is on] for on in (True, False))
        if cut and whole:
            across += cut
            beside += len(cut) * fmean(whole)
    return SeamTally(Tally(sum(across), len(across)), beside / len(across)) if across else None


def cells_of(results: Iterable[Answered], size: Size) -> Grid:
    """A grid of nearly square cells over pages of one size, in which about `IN_A_CELL` characters were shown."""
    shown = sum(len(each.read) for each in results if each.page.size == size)
    side = sqrt(size.area * IN_A_CELL / max(shown, 1))
    return Grid(max(1, round(size.height / side)), max(1, round(size.width / side)))


def by_place(results: Iterable[Answered], size: Size, grid: Grid) -> list[list[Tally]]:
    """Characters read on pages of one size, by the cell that the middle of their ink is in: rows of cells.

    Args:
        results: pages of other sizes are left out.
        size: of the pages.
        grid: of equal cells over a page.
    """
    counted = _counted(
        (_cell(box, size, grid), flag)
        for each in results
        if each.page.size == size
        for box, flag in zip(each.page.boxes, each.read, strict=True)
    )
    return [[counted.get((row, column), Tally(0, 0)) for column in range(grid.columns)] for row in range(grid.rows)]


def by_tokens(results: Iterable[Answered], tokens: Mapping[Size, int | None]) -> dict[Size, float | None]:
    """For each size of page, the characters read on one page per visual token of it; None: tokens are not known."""
    sizes: dict[Size, list[int]] = {}
    for each in results:
        sizes.setdefault(each.page.size, []).append(sum(each.read))
    return {size: fmean(read) / number if (number := tokens[size]) else None for size, read in sizes.items()}


def _cell(box: Box, size: Size, grid: Grid) -> tuple[int, int]:
    row = (box.top + box.bottom) / 2 / size.height * grid.rows
    column = (box.left + box.right) / 2 / size.width * grid.columns
    return int(row), int(column)


def _counted(flags: Iterable[tuple[K, bool]]) -> dict[K, Tally]:
    counts: dict[K, list[int]] = {}
    for key, flag in flags:
        count = counts.setdefault(key, [0, 0])
        count[0] += flag
        count[1] += 1
    return {key: Tally(read, shown) for key, (read, shown) in counts.items()}


def _folded(answer: str, alphabet: str) -> str:
    if alphabet == alphabet.upper():
        return answer.upper()
    return answer.lower() if alphabet == alphabet.lower() else answer
