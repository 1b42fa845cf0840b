"""Replace the names of a record's pictures, wherever its shape has them."""

from collections.abc import Callable
from typing import Any


def rename_pictures(record: Any, rename: Callable[[str], str]) -> Any:
    """The record with other names of its pictures: in `image`, `images`, and the parts of its conversation.

    What is not understood stays as it is; whoever reads the shape reports it.

    Args:
        record: as parsed from a file; it is not changed.
        rename: returns the new name; called once for each that is not empty, in the record's order.
    """
    if not isinstance(record, dict):
        return record
    return {key: _renamed(key, value, rename) for key, value in record.items()}


def picture_names(record: Any) -> list[str]:
    """The names that `rename_pictures` would replace."""
    names: list[str] = []

    def noted(name: str) -> str:
        names.append(name)
        return name

    rename_pictures(record, noted)
    return names


def _renamed(key: str, value: Any, rename: Callable[[str], str]) -> Any:
    if key in ("image", "images"):
        if isinstance(value, list):
            return [_name(each, rename) for each in value]
        return _name(value, rename)
    if key in ("conversations", "messages") and isinstance(value, list):
        return [_turn(turn, rename) for turn in value]
    return value


def _turn(turn: Any, rename: Callable[[str], str]) -> Any:
    if not isinstance(turn, dict):
        return turn
    parts = {key: value for key, value in turn.items() if key in ("content", "value") and isinstance(value, list)}
    return turn | {key: [_part(part, rename) for part in value] for key, value in parts.items()}


def _part(part: Any, rename: Callable[[str], str]) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("image", "image_url"):
        return part
    named = part.get(kind)
    if isinstance(named, dict) and "url" in named:
        return part | {kind: named | {"url": _name(named["url"], rename)}}
    return part | {kind: _name(named, rename)} if kind in part else part


def _name(name: Any, rename: Callable[[str], str]) -> Any:
    return rename(name) if isinstance(name, str) and name else name
