"""The page of an evaluation: every item with its pictures, question, accepted answers, answer and score."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models import BadImageError
from recipes.reading.crop import around
from recipes.reports.html.document import new_page, text, write_data, write_picture
from recipes.reports.html.thumbnails import Thumbnails

PICTURE_BYTES = 12_000_000
"""Room for pictures: 16 MB as text, so that a page of 5,000 items has less than 20 MB."""
REMEMBERED = 4
"""The last pictures, which are not opened again."""

Opener = Callable[[], Image]


@dataclass(frozen=True)
class Shown:
    """One item.

    Attributes:
        key: its name in the data.
        question: as the model was asked.
        references: accepted answers.
        answer: the model's.
        score: in 0..1; None: not scored one by one.
        pictures: functions that open its pictures as RGB, called one at a time. They may raise BadImageError, and its
            message is shown instead. Give the same function for the same picture: it is opened once for items in a row.
        group: a part of the data that can be chosen, such as the type of question; empty: none.
        boxes: where the answer stands in the first picture, in pixels of it.
    """

    key: str
    question: str
    references: tuple[str, ...]
    answer: str
    score: float | None
    pictures: tuple[Opener, ...]
    group: str = ""
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"{self.key}: a score is in 0..1, not {self.score}")


def write_page(
    shown: Iterable[Shown], path: Path, *, title: str, facts: Mapping[str, str], scores: Mapping[str, float]
) -> None:
    """Write a page that opens in any browser, from a file, and needs nothing else.

    Items are listed worst first and can be filtered by score, group and text. A picture is stored once, however many
    items share it; the more pictures, the smaller they are stored. Items are read one by one, and none is kept.

    Args:
        shown: the items.
        path: HTML file to write; it is complete, or not there.
        title: the page's heading.
        facts: what belongs to the scores: model, data, settings.
        scores: of all items together, by name.

    Raises:
        OSError: if the page cannot be written.
    """
    with closing(Thumbnails()) as thumbnails, new_page(path, title=title, script="evaluation.js") as stream:
        stream.write('<dl class="facts">\n')
        stream.writelines(f"<dt>{text(name)}</dt><dd dir=auto>{text(value)}</dd>\n" for name, value in facts.items())
        stream.write('</dl>\n<dl class="scores" aria-label="Scores">\n')
        stream.writelines(
            f"<div><dt>{text(name)}</dt><dd>{_figure(each)}</dd></div>\n" for name, each in scores.items()
        )
        stream.write("</dl>\n")
        write_data(stream, "items", _items(shown, thumbnails))
        for number, encoded in enumerate(thumbnails.fitted(PICTURE_BYTES)):
            write_picture(stream, f"picture-{number}", encoded)


def _items(shown: Iterable[Shown], thumbnails: Thumbnails) -> Iterator[dict[str, Any]]:
    @lru_cache(REMEMBERED)
    def opened(opener: Opener) -> Image:
        return opener()

    def added(opener: Opener, boxes: Sequence[Box]) -> dict[str, Any]:
        """The number of the picture's copy, or why there is none; with boxes, where they are and what they hold."""
        try:
            picture = opened(opener)
        except BadImageError as error:
            return {"fault": str(error)}
        found: dict[str, Any] = {"picture": thumbnails.add(picture)}
        whole = Box.whole(Size(*picture.size))
        if inside := [each for box in boxes if (each := box.overlap(whole)) is not None]:
            found["boxes"] = [_share(each, whole) for each in inside]
            found["crops"] = [thumbnails.add(around(each, picture)) for each in inside]
        return found

    for each in shown:
        yield {
            "key": each.key,
            "question": each.question,
            "references": each.references,
            "answer": each.answer,
            "score": each.score,
            "group": each.group,
            "pictures": [added(opener, () if number else each.boxes) for number, opener in enumerate(each.pictures)],
        }


def _share(box: Box, picture: Box) -> list[float]:
    """Left, top, width and height of a box in widths and heights of the picture."""
    across, down = (box.left, box.width), (box.top, box.height)
    left, width = (round(each / picture.width, 4) for each in across)
    top, height = (round(each / picture.height, 4) for each in down)
    return [left, top, width, height]


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
