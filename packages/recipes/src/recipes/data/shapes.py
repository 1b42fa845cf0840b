"""Read conversations and captions in their common shapes as turns and names of pictures."""

import logging
from collections.abc import Mapping
from typing import Any

from foveal.models import Turn
from foveal.models.prompts.templates import PLACEHOLDER, Role, check_turns, with_pictures
from recipes.reading.clean_text import clean_text
from recipes.reading.keys import refuse_meant_keys
from recipes.reading.pictures import named_pictures

logger = logging.getLogger(__name__)
ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
TALKS, CAPTIONS = ("conversations", "messages"), ("caption", "text")
KEYS = ("id", "image", "images", "system", *TALKS, *CAPTIONS)


def read_shape(record: Any, where: str, *, open_ended: bool = False) -> tuple[list[str], list[Turn]]:
    """Return the names of a record's pictures, and its turns with one `<image>` for each picture.

    - A conversation is under `conversations` or `messages`: turns with `from` and `value` (LLaVA) or with `role` and
      `content` (OpenAI, ShareGPT), where `content` is a text or a list of parts.
    - A caption is under `caption` or `text` of a record with pictures and no conversation.
    - Pictures are under `image` or `images`, or in the parts. If no text has a placeholder for them, they come first.
    - An assistant turn at the beginning answers nothing; it is left out, which is logged.

    Args:
        record: as parsed from the file.
        where: its location, for messages.
        open_ended: whether the last question may be without an answer.

    Raises:
        ValueError: naming location and key, for everything that is not understood: other shapes, unknown roles, keys
            that look like a misspelt or renamed known one, turns out of order, empty answers, a number of `<image>`
            that differs from the number of pictures, and texts with a NUL or half a character.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: must be an object, not {type(record).__name__}")
    refuse_meant_keys(record, KEYS, where)
    pictures, talk = named_pictures(record, where), _only(record, TALKS, where)
    if talk is None:
        turns = _caption(record, pictures, where)
    else:
        turns, shown = _talk(record[talk], f"{where}, {talk}")
        if shown and pictures:
            raise ValueError(f"{where}: pictures both in the parts of {talk} and beside it: name each once")
        pictures = shown or pictures
    if not isinstance(system := record.get("system") or "", str):
        raise ValueError(f"{where}, system: must be a text, not {type(system).__name__}")
    if system:
        turns.insert(0, Turn("system", clean_text(system, f"{where}, system")))
    if turns and turns[0].role == "assistant":
        logger.warning("%s: left out the first turn, the assistant's: it answers nothing", where)
        turns = turns[1:]
    _place(turns, len(pictures))
    try:
        check_turns(turns, len(pictures), open_ended=open_ended and bool(turns) and turns[-1].role == "user")
    except ValueError as error:
        raise ValueError(f"{where}, {talk or 'caption'}: {error}") from error
    return pictures, turns


def _only(record: Mapping[str, Any], keys: tuple[str, ...], where: str) -> str | None:
    present = [key for key in keys if record.get(key) is not None]
    if len(present) > 1:
        raise ValueError(f"{where}: both {present[0]!r} and {present[1]!r}: which one is meant? Leave the other out")
    return present[0] if present else None


def _caption(record: Mapping[str, Any], pictures: list[str], where: str) -> list[Turn]:
    key = _only(record, CAPTIONS, where)
    if key is None or not pictures:
        raise ValueError(f"{where}: expected 'conversations' or 'messages', or 'image' with a 'caption' or 'text'")
    if not isinstance(record[key], str):
        raise ValueError(f"{where}, {key}: must be a text, not {type(record[key]).__name__}")
    user = Turn("user", "\n".join([PLACEHOLDER] * len(pictures)))
    return [user, Turn("assistant", clean_text(record[key], f"{where}, {key}"))]


def _talk(spoken: Any, where: str) -> tuple[list[Turn], list[str]]:
    """The turns, and the pictures that are named in their parts."""
    if not isinstance(spoken, list):
        raise ValueError(f"{where}: must be a list of turns, not {type(spoken).__name__}")
    turns, pictures = [], []
    for number, one in enumerate(spoken, start=1):
        turn, shown = _turn(one, f"{where}, turn {number}")
        turns.append(turn)
        pictures += shown
    return turns, pictures


def _turn(spoken: Any, where: str) -> tuple[Turn, list[str]]:
    for role_key, text_key in (("from", "value"), ("role", "content")):
        if isinstance(spoken, dict) and role_key in spoken and text_key in spoken:
            role, content = spoken[role_key], spoken[text_key]
            break
    else:
        raise ValueError(f"{where}: must be an object with 'from' and 'value', or 'role' and 'content'")
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{where}: unknown role {role!r:.60} in {role_key!r}, expected one of {', '.join(ROLES)}")
    if isinstance(content, str):
        return Turn(ROLES[role], clean_text(content, where)), []
    if not isinstance(content, list):
        raise ValueError(f"{where}, {text_key}: must be a text or a list of parts, not {type(content).__name__}")
    texts, pictures = [], []
    for number, part in enumerate(content, start=1):
        text, shown = _part(part, f"{where}, part {number}")
        texts.append(text)
        pictures += shown
    return Turn(ROLES[role], "\n".join(texts)), pictures


def _part(part: Any, where: str) -> tuple[str, list[str]]:
    """The text of a part, and the picture it names; an image without a name is one that the record names elsewhere."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return clean_text(part["text"], where), []
    if kind in ("image", "image_url"):
        named = part.get(kind)
        name = named.get("url") if isinstance(named, dict) else named
        if name is None and kind == "image":
            return PLACEHOLDER, []
        if isinstance(name, str) and name:
            return PLACEHOLDER, [name]
    raise ValueError(
        f"{where}: expected type 'text' with a text, or 'image' or 'image_url' with a name, not {kind!r:.60}"
    )


def _place(turns: list[Turn], pictures: int) -> None:
    """Put pictures before the first user's text, each on a separate line, if no text has a placeholder."""
    if any(PLACEHOLDER in turn.text for turn in turns):
        return
    for position, turn in enumerate(turns):
        if turn.role == "user":
            turns[position] = Turn("user", with_pictures(turn.text, pictures))
            return
