"""How well a model reads the lines of real receipts, each cut out: `python -m tools.reader.receipts CHECKPOINT FOLDER`.

FOLDER holds `val_annotations.json`: records with `image` and `lines`, each with `box` (left, top, right, bottom, in
pixels) and `text`. `--write` puts the table into docs/reader.md.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from PIL.Image import Image

from foveal.models import VisionLanguageModel, answer_batch, load, read_image
from recipes.benchmarks.derived.boxes import box_of
from recipes.data.pages import QUESTION
from recipes.metrics import CharacterErrorRate, ExactMatch
from recipes.reading.json_value import read_value
from tools.reader.measure import BATCH, PAGE, written

LINES = "val_annotations.json"
MARK = "receipts"
MARGIN = 2
"""Pixels around a box, which is as tight as the letters."""
HEIGHTS = {
    "0 to 15": (0, 16),
    "16 to 19": (16, 20),
    "20 to 23": (20, 24),
    "24 to 27": (24, 28),
    "28 and more": (28, inf),
    "all": (0, inf),
}
"""Heights of boxes in pixels, from and below, by their names in the table."""
LONGEST = 100
"""Tokens of an answer."""


@dataclass(frozen=True)
class Line:
    """A line of a receipt.

    Attributes:
        picture: the line, cut out.
        text: what it says.
        height: of its box in pixels.
    """

    picture: Image
    text: str
    height: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.reader.receipts", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a model")
    parser.add_argument("folder", type=Path, help=f"folder with {LINES} and its pictures")
    parser.add_argument("--write", action="store_true", help="write the table into docs/reader.md")
    given = parser.parse_args(arguments)
    text = table(load(given.checkpoint), list(lines_of(given.folder)))
    print(text)
    if given.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), text, MARK), encoding="utf-8")


def lines_of(folder: Path) -> Iterator[Line]:
    """Every line of every receipt.

    Raises:
        ValueError: if a box is none.
    """
    for record in read_value(folder / LINES):
        picture = read_image(folder / record["image"])
        # Where a data set has no boxes, its records have no lines.
        for number, line in enumerate(record.get("lines", ()), 1):
            where = f"{folder / LINES}, record {record['id']}, line {number}"
            left, top, right, bottom = box_of(line["box"], where)
            low = (max(left - MARGIN, 0), max(top - MARGIN, 0))
            high = (min(right + MARGIN, picture.width), min(bottom + MARGIN, picture.height))
            yield Line(picture.crop((*low, *high)), line["text"], bottom - top)


def table(model: VisionLanguageModel, lines: Sequence[Line]) -> str:
    """A row for each range of heights, and one for all: character error rate, and share of lines without an error."""
    asked = [([line.picture], QUESTION) for line in lines]
    answers = answer_batch(model, asked, batch_size=BATCH, max_new_tokens=LONGEST)
    rows = ["| height of the box, pixels | lines | character error rate | whole lines |", "|---|---|---|---|"]
    for name, (low, high) in HEIGHTS.items():
        own = [number for number, line in enumerate(lines) if low <= line.height < high]
        if not own:
            continue
        rate, exact = CharacterErrorRate(), ExactMatch()
        said, references = [answers[number] for number in own], [[lines[number].text] for number in own]
        rate.update(said, references)
        exact.update(said, references)
        rows.append(f"| {name} | {len(own)} | {rate.compute():.1%} | {exact.compute():.0%} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
