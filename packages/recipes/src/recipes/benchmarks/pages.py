"""The built-in pages as a benchmark that needs no files."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from recipes.benchmarks.item import Item
from recipes.benchmarks.records import Records
from recipes.data.pages import PageSettings, draw_page


@dataclass(frozen=True)
class DrawnPicture:
    """A page that is drawn when it is needed.

    Attributes:
        name: its number.
        settings: how pages look.
        seed: seed of the stream.
        index: number of the page in the stream.
    """

    name: str
    settings: PageSettings
    seed: int
    index: int

    def find(self) -> bytes:
        stream = BytesIO()
        draw_page(self.settings, self.seed, self.index).image.save(stream, "png")
        return stream.getvalue()


class PageRecords(Records):
    """Pages of a stream, with the values `question` and `answers`.

    Args:
        pages: number of pages.
        seed: seed of the stream; not one that was trained on.
        settings: how pages look; default: as in training.
    """

    needs_folder = False

    def __init__(self, pages: int = 100, *, seed: int = 1, settings: PageSettings | None = None) -> None:
        self.pages, self.seed, self.settings = pages, seed, settings or PageSettings()

    def items(self, folder: Path) -> Iterator[Item]:
        for index in range(self.pages):
            question, answer = draw_page(self.settings, self.seed, index).turns
            values = {"question": question.text.replace("<image>\n", "", 1), "answers": [answer.text]}
            picture = DrawnPicture(str(index), self.settings, self.seed, index)
            yield Item(str(index), values, (picture,), where=f"page {index} of stream {self.seed}")
