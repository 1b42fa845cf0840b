"""Conversations in LLaVA's format, checked before anything is trained on them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.models import Turn
from foveal.models.prompts.templates import check_turns
from recipes.reading.json_file import read_values
from recipes.reading.pictures import picture_names, picture_path

logger = logging.getLogger(__name__)
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


@dataclass(frozen=True)
class Record:
    """One conversation: its id, the files of its pictures, its turns."""

    key: str
    images: tuple[Path, ...]
    turns: tuple[Turn, ...]

    @property
    def words(self) -> int:
        """Words of all turns, pictures not counted."""
        return sum(len(turn.text.replace("<image>", " ").split()) for turn in self.turns)


def read_records(path: str | Path, images: str | Path | None = None) -> list[Record]:
    """The conversations of a JSON list or a JSONL file, in LLaVA's format (its docs/Finetune_Custom_Data.md).

    A record has `id`, `conversations` (`from`: human or gpt by turns, `value`: text) and, unless it is text only,
    `image` (a name or a list; null and `""` are no picture). A leading turn of gpt answers nothing and is left out,
    which is logged.

    Args:
        path: the file; its content tells which of the two it is.
        images: folder that the pictures' names start from; default: the file's own.

    Raises:
        ValueError: naming file, record and key: for JSON that is none, unknown roles, turns out of order, empty
            answers, `<image>` not once per picture, pictures that are missing or lie outside of `images`.
        OSError: if the file cannot be read.
    """
    source = Path(path)
    root = Path(images) if images is not None else source.parent
    if not root.is_dir():
        raise ValueError(f"there is no image folder {root}")
    records = [_record(raw, where, root) for _, where, raw in read_values(source)]
    if not records:
        raise ValueError(f"{source} has no records")
    return records


def _record(raw: Any, where: str, root: Path) -> Record:
    if not isinstance(raw, dict) or not isinstance(raw.get("conversations"), list):
        raise ValueError(f"{where}: an object with a list 'conversations' is expected")
    key = str(raw.get("id", where))
    where = f"{where} (id {key})"
    turns = [_turn(spoken, where, number) for number, spoken in enumerate(raw["conversations"], start=1)]
    if turns and turns[0].role == "assistant":
        logger.warning("%s: left out the first turn, gpt's: it answers nothing", where)
        turns = turns[1:]
    names = picture_names(raw.get("image"), f"{where}, image")
    try:
        check_turns(turns, len(names), open_ended=False)
    except ValueError as error:
        raise ValueError(f"{where}, conversations: {error}") from error
    return Record(key, tuple(picture_path(name, root, f"{where}, image") for name in names), tuple(turns))


def _turn(spoken: Any, where: str, number: int) -> Turn:
    if not isinstance(spoken, dict) or not isinstance(spoken.get("value"), str):
        raise ValueError(f"{where}, turn {number}: an object with 'from' and a text 'value' is expected")
    role = ROLES.get(spoken.get("from", ""))
    if role is None:
        raise ValueError(f"{where}, turn {number}: 'from' is {spoken.get('from')!r}, expected human or gpt")
    return Turn(role, spoken["value"])  # type: ignore[arg-type]  # one of the three
