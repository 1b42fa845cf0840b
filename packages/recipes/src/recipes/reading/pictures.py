"""Which pictures a record names, and where they lie."""

from pathlib import Path
from typing import Any


def picture_names(value: Any, where: str) -> list[str]:
    """The names under a key: a name or a list of names; null and an empty name are no picture.

    Args:
        value: as it stands in the file.
        where: its place, for messages.

    Raises:
        ValueError: if it is anything else, or one name of a list is empty.
    """
    if value is None or value == "":
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: a name or a list of names is expected, not {value!r}")
    if "" in names:
        raise ValueError(f"{where}: name {names.index('') + 1} of {len(names)} is empty")
    return names


def picture_path(name: str, root: Path, where: str) -> Path:
    """The file of a picture.

    Args:
        name: relative to `root`.
        root: folder that no picture may leave, links included.
        where: the place of the name, for messages.

    Raises:
        ValueError: if it lies outside of the folder, or there is no such file.
    """
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
