"""The files that an index in the same folder names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LONGEST = 255
"""Bytes of a file's name, in all common file systems."""


def named_files(index: Path, key: str, names: Sequence[Any]) -> list[Path]:
    """The files that an index names, in its own folder.

    Args:
        index: the file with the names.
        key: what the names are called there, for messages.
        names: as parsed from it.

    Raises:
        ValueError: if one is not the name of a file in the folder, or the file is missing.
    """
    for name in names:
        plain = isinstance(name, str) and Path(name).name == name != "" and "\0" not in name
        if not plain or len(name.encode(errors="surrogatepass")) > LONGEST:
            raise ValueError(f"{index}, {key}: the name of a file in this folder is expected, not {str(name)[:100]!r}")
    files = [index.parent / name for name in names]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{index}, {key}: {len(missing)} of {len(files)} files are missing, such as {missing[0]!r}")
    return files
