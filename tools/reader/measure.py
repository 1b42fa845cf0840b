"""How well a model reads printed text: character error rates by size, font, kind of text and length of a line.

Run `python -m tools.reader.measure CHECKPOINT`; `--write` puts the tables into docs/reader.md. All pages are drawn on
the fly, other ones than in training; fonts that training does not see are those of `HELD_OUT`.
"""

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foveal.models import VisionLanguageModel, answer_batch, load
from recipes.data.pages import QUESTION, Page
from recipes.data.printed.fonts import BUILT_IN, HELD_OUT, TRAINING, faces, font_of
from recipes.data.printed.pages import PrintedSettings, Row, print_rows
from recipes.data.printed.texts import KINDS, line
from recipes.metrics import CharacterErrorRate, ExactMatch

PAGE = Path(__file__).parents[2] / "docs/reader.md"
MARK = "measured"
"""Name of the marks in the page between which the tables are."""
SIZES = (8, 10, 12, 14, 16, 20, 24, 32)
"""Font sizes in pixels."""
LENGTHS = (10, 20, 40, 60, 80)
"""Characters of a single line."""
SEED = 7_000_003
BATCH = 16
NEW_TOKENS = 400
Read = Callable[[Sequence[Page]], Sequence[str]]


@dataclass(frozen=True)
class Fonts:
    """Fonts that training has seen, and others; names of packages."""

    seen: tuple[str, ...] = TRAINING
    unseen: tuple[str, ...] = HELD_OUT


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tools.reader.measure", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a model")
    parser.add_argument("--pages", type=int, default=48, help="pages for each figure")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/reader.md")
    parser.add_argument("--built_in", action="store_true", help=f"only the fonts of {BUILT_IN}, for a trial")
    given = parser.parse_args(arguments)
    if given.write and given.built_in:
        parser.error("--write is for the fonts of training and the others: leave --built_in out")
    model = load(given.checkpoint)
    fonts = Fonts((BUILT_IN,), (BUILT_IN,)) if given.built_in else Fonts()
    text = tables(lambda pages: _read(model, pages), fonts, given.pages)
    print(text)
    if given.write:
        text = f"{given.pages} pages for each figure.\n\n{text}"
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")


def written(page: str, text: str, mark: str = MARK) -> str:
    """The page with `text` between the two marks of this name.

    Raises:
        ValueError: if the page has no such marks.
    """
    begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"the page has no lines {begin.strip()} and {end.strip()} between which the tables belong")
    return f"{before}{begin}\n{text}\n{end}{after}"


def tables(read: Read, fonts: Fonts, pages: int) -> str:
    """All tables, in Markdown.

    Args:
        read: gives the text of each page.
        fonts: seen and unseen ones.
        pages: number of pages for each figure.
    """
    parts = [
        _table("font size, pixels", SIZES, lambda size, names: of_size(size, names, pages), read, fonts),
        _table("one line of characters", LENGTHS, lambda length, names: of_length(length, names, pages), read, fonts),
        _table("kind of text", KINDS, lambda kind, names: of_kind(kind, names, pages), read, fonts),
        _table("pages", ("clean", "as in training"), lambda look, names: of_look(look, names, pages), read, fonts),
    ]
    return "\n\n".join(parts)


def of_size(size: int, names: tuple[str, ...], pages: int) -> list[Page]:
    """Pages as in training, at one font size."""
    settings = PrintedSettings(fonts=names, font_sizes=(size, size))
    return [settings.draw(SEED, index) for index in range(pages)]


def of_look(look: str, names: tuple[str, ...], pages: int) -> list[Page]:
    """Pages as in training, or black on white, straight and without noise."""
    settings = PrintedSettings(fonts=names)
    if look == "clean":
        return [_clean(names, index, lambda rng: [line(rng, 32, 1.0) for _ in range(3)]) for index in range(pages)]
    return [settings.draw(SEED + 1, index) for index in range(pages)]


def of_length(length: int, names: tuple[str, ...], pages: int) -> list[Page]:
    """Clean pages with one line of about `length` characters."""

    def rows(rng: random.Random) -> list[str]:
        text = ""
        while len(text) < length:
            text = f"{text} {line(rng, length, 1.0)}".strip()
        return [text[:length].strip()]

    return [_clean(names, index, rows) for index in range(pages)]


def of_kind(kind: str, names: tuple[str, ...], pages: int) -> list[Page]:
    """Clean pages with two lines of two pieces of one kind."""

    def rows(rng: random.Random) -> list[str]:
        return [f"{KINDS[kind](rng)} {KINDS[kind](rng)}" for _ in range(2)]

    return [_clean(names, index, rows) for index in range(pages)]


def _clean(names: tuple[str, ...], index: int, rows: Callable[[random.Random], Sequence[str]]) -> Page:
    """Black on white, straight, at 12 to 24 pixels, without noise."""
    rng = random.Random(f"{SEED}/{index}")
    font = font_of(rng.choice(faces(names)), rng.randint(12, 24))
    settings = replace(PrintedSettings(fonts=names), turn=0.0, noise=0.0)
    return print_rows([Row(text) for text in rows(rng)], font, settings, rng, 0.0)


def _table(
    name: str, keys: Iterable[Any], pages: Callable[[Any, tuple[str, ...]], list[Page]], read: Read, fonts: Fonts
) -> str:
    """A row for each key: character error rate and share of pages without an error, in seen and in unseen fonts."""
    lines = [f"| {name} | seen fonts | unseen fonts | whole pages, unseen |", "|---|---|---|---|"]
    for key in keys:
        seen, _ = scores(pages(key, fonts.seen), read)
        unseen, exact = scores(pages(key, fonts.unseen), read)
        lines.append(f"| {key} | {seen:.1%} | {unseen:.1%} | {exact:.0%} |")
    return "\n".join(lines)


def scores(pages: Sequence[Page], read: Read) -> tuple[float, float]:
    """Character error rate, and share of the pages that are read without an error."""
    references = [[page.turns[1].text] for page in pages]
    rate, exact = CharacterErrorRate(), ExactMatch()
    answers = read(pages)
    rate.update(answers, references)
    exact.update(answers, references)
    return float(rate.compute()), float(exact.compute())


def _read(model: VisionLanguageModel, pages: Sequence[Page]) -> Sequence[str]:
    asked = [([page.image], QUESTION) for page in pages]
    return answer_batch(model, asked, batch_size=BATCH, max_new_tokens=NEW_TOKENS)


if __name__ == "__main__":
    main()
