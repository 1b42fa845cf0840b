"""Read the values of a JSON list or of a file with a JSON value on every line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WHITE = " \t\r\n"
"""White space in JSON (RFC 8259, section 2); U+2028, U+2029 and U+0085 are text."""


def read_values(source: Path) -> Iterator[tuple[int, str, Any]]:
    """Yield every value of a JSON list or a JSONL file, as (number or line, location for messages, value).

    The format is recognised by the content: a list begins with `[`. A byte order mark is skipped.

    Args:
        source: a file in UTF-8, with any suffix.

    Raises:
        ValueError: with file and line, if it is not UTF-8 or not JSON.
        OSError: if the file cannot be read.
    """
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    if text.lstrip(WHITE).startswith("["):
        for number, value in enumerate(_parsed(text, str(source)), start=1):
            yield number, f"{source}, record {number}", value
    else:
        yield from _lines(text, source)


def _lines(text: str, source: Path) -> Iterator[tuple[int, str, Any]]:
    read_any = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(WHITE):
            continue
        where = f"{source}, line {number}"
        try:
            value = _parsed(line, where)
        except ValueError:
            if not read_any and _is_json(text):
                raise ValueError(f"{source}: a list of records is expected, not one object: put it in [ ]") from None
            raise
        read_any = True
        yield number, where, value


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error
    except ValueError as error:  # also a number with thousands of digits
        raise ValueError(f"{where}: not JSON ({error})") from error


def _is_json(text: str) -> bool:
    try:
        _parsed(text, "")
    except ValueError:
        return False
    return True
