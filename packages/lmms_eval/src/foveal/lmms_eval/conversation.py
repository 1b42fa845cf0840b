"""Chat messages of lmms-eval as pictures and turns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.models import Turn, Video
from foveal.models.prompts.templates import PLACEHOLDER

Source = str | Path | bytes | Image | Video
"""A picture's file, its bytes, an open picture, or the frames of a video."""


def conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Source], list[Turn]]:
    """The pictures of a conversation in their order, and its turns with one `<image>` for each of them.

    Pictures stay where the message has them. Those before all text stand on a line of their own, as LLaVA was trained;
    in between, nothing is added. If a message's own text has one `<image>` for each of its pictures, these are the
    places, and the pictures' parts only give the order.

    Args:
        messages: `{"role": ..., "content": [part, ...]}` each. A part is `{"type": "text", "text": ...}`, or
            `{"type": "image", "url": ...}` with a file, bytes, a picture of Pillow, or Hugging Face's mapping of
            `bytes` and `path`; or `{"type": "video", "url": [...]}` with frames in any of these forms.

    Raises:
        ValueError: for a part of another kind, a video that is not a list of frames, or a text with `<image>` that has
            not one for each picture.
    """
    sources: list[Source] = []
    turns = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found = [_source(part) for part in parts if part["type"] != "text"]
        turns.append(Turn(message["role"], _text(parts, len(found))))
        sources += found
    return sources, turns


def _source(part: Mapping[str, Any]) -> Source:
    kind, given = part["type"], part.get("url")
    if kind == "image":
        return _picture(given)
    if kind == "video" and isinstance(given, list | tuple):
        return Video([_picture(frame) for frame in given])
    if kind == "video":
        raise ValueError("a video is given as a file, which is not read: the task must give a list of its frames")
    raise ValueError(f"the message has a part of type {kind!r}: only text, pictures and frames of videos are read")


def _picture(given: Any) -> str | Path | bytes | Image:
    """The picture itself, from Hugging Face's mapping if it is one."""
    named = given.get("bytes") or given.get("path") if isinstance(given, Mapping) else given
    if not isinstance(named, str | Path | bytes | Image):
        found = f"a mapping with {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
        raise ValueError(f"a picture is a file, bytes, an image of Pillow, or a mapping with one of them, not {found}")
    return named


def _text(parts: Sequence[Mapping[str, Any]], pictures: int) -> str:
    """The text of a message with its places of pictures."""
    own = sum(part["text"].count(PLACEHOLDER) for part in parts if part["type"] == "text")
    if own not in (0, pictures):
        raise ValueError(
            f"the text has {own} {PLACEHOLDER} for {pictures} pictures: there must be one for each, or none"
        )
    text = ""
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
        elif not own:
            text += f"{PLACEHOLDER}\n" if text == f"{PLACEHOLDER}\n" * text.count(PLACEHOLDER) else PLACEHOLDER
    return text
