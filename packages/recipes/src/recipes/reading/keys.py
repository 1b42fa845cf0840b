"""Unknown keys of a record: they are ignored, unless they look like a mistake."""

from collections.abc import Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

ALIKE = 0.8
"""Smallest ratio (difflib's) at which a key counts as a misspelt known one with the same first letter."""
OTHER_NAMES = {
    ("image", "images"): (
        *("img", "pic", "pics", "picture", "pictures", "photo", "photos", "file_name", "filename"),
        *("image_path", "image_paths", "image_file", "image_files", "image_url", "image_urls", "image_name"),
    ),
    ("conversations", "messages"): ("conv", "chat", "dialog", "dialogue", "dialogs", "msgs", "turns"),
    ("system",): ("system_prompt",),
}
NOT_READ = ("video", "videos", "audio", "audios")


def refuse_meant_keys(record: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse an unknown key that looks like a mistake; all others are ignored.

    A key is refused if it is spelt almost like a known one, or is another name for something that the record lacks:
    `picture` without `image`. `video` and `audio` are refused too. Unknown keys with an empty value are ignored.

    Args:
        record: as parsed from the file.
        known: keys that are read.
        where: the record's location, for messages.

    Raises:
        ValueError: naming the key and the nearest known one.
    """
    for key in record:
        if key in known or record[key] in (None, "", [], {}):
            continue
        if key.lower() in NOT_READ:
            raise ValueError(f"{where}: {key!r:.60} is not read, only pictures are: leave the record or the key out")
        if nearest := _meant(key.lower(), record, known):
            raise ValueError(f"{where}: the key {key!r:.60} is not read; did you mean {nearest!r}?")


def _meant(key: str, record: Mapping[str, Any], known: tuple[str, ...]) -> str | None:
    for names, others in OTHER_NAMES.items():
        if key in others and names[0] in known:
            return None if any(record.get(name) for name in names) else names[0]
    return _nearest(key, known)


@lru_cache(maxsize=1024)  # a million records have the same few keys
def _nearest(key: str, known: tuple[str, ...]) -> str | None:
    ratios = {name: SequenceMatcher(None, key, name).ratio() for name in known if name[0] == key[:1] and name != "id"}
    nearest = max(ratios, key=lambda name: ratios[name], default=None)
    return nearest if nearest is not None and ratios[nearest] >= ALIKE else None
