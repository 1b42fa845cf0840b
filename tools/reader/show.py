"""Draw what the small reader reads, for docs: `python -m tools.reader.show CHECKPOINT`."""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from foveal.models import answer_batch, load
from recipes.data.pages import QUESTION
from recipes.data.printed.fonts import HELD_OUT, faces, font_of
from recipes.data.printed.pages import PrintedSettings, Row, print_rows
from recipes.reports.sheet import SheetRow, draw_sheet

DOCS = Path(__file__).parents[2] / "docs"
PAGE, SHEET = "page.png", "reader.png"
LINES = ("Two coffees and a cake", "Total: 10.20", "24/11/2026 18:45")
"""The text of the page that README asks about."""
FONT, SIZE = "Caladea-Regular.ttf", 18
SEED = 7_000_005
PAGES = 12
COLOURS = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page of README, and a sheet of other pages with what the model reads."""
    parser = argparse.ArgumentParser(prog="python -m tools.reader.show", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a model")
    parser.add_argument("--output", type=Path, default=DOCS, help="another folder than docs")
    given = parser.parse_args(arguments)
    settings = PrintedSettings(fonts=HELD_OUT)
    draw_page(given.output / PAGE)
    pages = [settings.draw(SEED, index) for index in range(PAGES)]
    model = load(given.checkpoint)
    answers = answer_batch(model, [([page.image], QUESTION) for page in pages], max_new_tokens=400)
    rows = [
        SheetRow(page.image, page.turns[0].text, page.turns[1].text, said)
        for page, said in zip(pages, answers, strict=True)
    ]
    sheet = draw_sheet(rows, given.output / SHEET)
    with Image.open(sheet) as drawn:
        small = drawn.quantize(COLOURS)
    small.save(sheet, optimize=True)
    print(sheet)


def draw_page(path: Path) -> None:
    """The page of README: black on white, in a font that training does not see."""
    (face,) = (each for each in faces(HELD_OUT) if each.name == FONT)
    settings = replace(PrintedSettings(fonts=HELD_OUT), turn=0.0, noise=0.0)
    rows = [Row(line) for line in LINES]
    print_rows(rows, font_of(face, SIZE), settings, random.Random(SEED), 0.0).image.save(path)


if __name__ == "__main__":
    main()
