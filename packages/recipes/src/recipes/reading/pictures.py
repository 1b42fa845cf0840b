"""The pictures that a record names, and where they are."""

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 20_000_000
"""Largest size of a picture that is embedded in a record."""
BASE64_URI = re.compile(r"data:image/[\w.+-]+;base64,")
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")

Source = Path | bytes
"""A picture's file or, if it is embedded in the record, its encoded bytes."""


def named_pictures(record: Mapping[str, Any], where: str) -> list[str]:
    """The pictures under `image` or `images`: a name or a list of names; null and an empty name mean no picture.

    Args:
        record: as parsed from the file.
        where: its location, for messages.

    Raises:
        ValueError: if it is anything else, a name in a list is empty, or the two keys name different pictures.
    """
    single, several = (_names(record.get(key), f"{where}, {key}") for key in ("image", "images"))
    if single and several and single != several:
        raise ValueError(f"{where}: pictures under both 'image' and 'images': put all under one, in their order")
    return single or several


def picture_source(name: str, root: Path, where: str) -> Source:
    """The file of a picture, or its bytes if it is embedded as `data:image/...;base64,`.

    Args:
        name: file name relative to `root`, or a `data:` URI.
        root: folder that all pictures must be inside, after links are resolved.
        where: location of the name, for messages.

    Raises:
        ValueError: if the name is a URL, or the file is missing or outside the folder; if an embedded picture is not
            base64, or larger than `MAX_BYTES`.
    """
    if name.startswith("data:"):
        return _written_out(name, where)
    if ADDRESS.match(name):
        raise ValueError(f"{where}: {name[:100]!r} is not fetched: download it, and give its name in the image folder")
    path = root / name
    try:
        inside, there = path.resolve().is_relative_to(root.resolve()), path.is_file()
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise ValueError(f"{where}: {name[:100]!r} is no name of a file ({error})") from error
    if not inside:
        raise ValueError(f"{where}: {name!r} lies outside of the image folder {root}")
    if not there:
        raise ValueError(f"{where}: there is no file {path}")
    return path


def _names(value: Any, where: str) -> list[str]:
    if value is None or value == "":
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: a name or a list of names is expected, not {value!r}")
    if "" in names:
        raise ValueError(f"{where}: name {names.index('') + 1} of {len(names)} is empty")
    return names


def _written_out(uri: str, where: str) -> bytes:
    begin = BASE64_URI.match(uri)
    if begin is None:
        raise ValueError(f"{where}: {uri[:40]!r} is not understood, expected data:image/png;base64, or the like")
    if (len(uri) - begin.end()) * 3 // 4 > MAX_BYTES:
        raise ValueError(f"{where}: a picture of more than {MAX_BYTES // 10**6} MB is written out: put it into a file")
    try:
        return base64.b64decode(uri[begin.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where}: the picture that is written out is not base64 ({error})") from error
