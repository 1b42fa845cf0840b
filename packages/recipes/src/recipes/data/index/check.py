"""Check one record and put it into the form in which the index holds it."""

import json
from dataclasses import dataclass

from foveal.models import Turn
from recipes.data.shapes import read_shape
from recipes.reading.reader import RawRecord

NO_PICTURE = -1
LONGEST = 500
"""Characters of an id or a message."""


@dataclass(frozen=True)
class Checked:
    """A record that was checked.

    Attributes:
        stored: JSON of its number, its id (null: none), the names of its pictures and its turns.
        pictures: number of its pictures.
        answers: number of its answers.
        words: number of words of all turns, without pictures, at least 1; negative if it has no picture.
        fault: why it cannot be used; empty: no fault was found.
    """

    stored: bytes
    pictures: int
    answers: int
    words: int
    fault: str = ""


def checked(raw: RawRecord) -> Checked:
    """Check a record's shape; its pictures are looked at later, by several processes."""
    value, where = raw.value, raw.where
    name = None
    if isinstance(value, dict) and value.get("id") is not None:
        name = printable(str(value["id"]))
        where = f"{where} (id {name})"
    try:
        names, turns = read_shape(value, where)
    except ValueError as error:
        return Checked(_stored(raw.number, name, [], []), 0, 0, NO_PICTURE, printable(str(error)))
    words = sum(len(turn.text.replace("<image>", " ").split()) for turn in turns)
    signed = max(words, 1) * (1 if names else NO_PICTURE)
    answers = sum(turn.role == "assistant" for turn in turns)
    return Checked(_stored(raw.number, name, names, turns), len(names), answers, signed)


def printable(text: str) -> str:
    """A text for messages: at most `LONGEST` characters, and escapes for those that a terminal would obey."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)


def _stored(number: int, name: str | None, names: list[str], turns: list[Turn]) -> bytes:
    value = (number, name, names, [(turn.role, turn.text) for turn in turns])
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="surrogatepass")
