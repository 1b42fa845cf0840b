"""Read the values of a JSON list or of a file with a JSON value on every line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.reading.pictures import PictureFolder, Source
from recipes.reading.reader import RawRecord, Reader

WHITE = " \t\r\n"
"""White space in JSON (RFC 8259, section 2); U+2028, U+2029 and U+0085 are text."""
SPACE = re.compile(f"[{WHITE}]*")
MARK = b"\xef\xbb\xbf"
"""UTF-8's byte order mark."""


class JsonReader(Reader):
    """Records of a JSON list or a JSONL file; the content shows which of them it is.

    Args:
        path: a file in UTF-8, with any suffix.
        images: folder that the names of pictures are relative to.

    Raises:
        ValueError: if there is no image folder.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path, images: Path) -> None:
        self.path, self.folder = path, PictureFolder(images)
        self._unit = "record" if _holds_a_list(path) else "line"

    def files(self) -> list[Path]:
        return [self.path]

    def records(self) -> Iterator[RawRecord]:
        return read_values(self.path)

    def location(self, number: int) -> str:
        return f"{self.path}, {self._unit} {number}"

    def file(self, name: str) -> Path:
        return self.folder.file(name, name)

    def picture(self, name: str, where: str) -> Source:
        return self.folder.find(name, where)


def read_values(source: Path) -> Iterator[RawRecord]:
    """Yield every value of a JSON list or a JSONL file.

    The format is recognised by the content: a list begins with `[`. A byte order mark is skipped. Of a JSONL file, one
    line is in memory at a time.

    Args:
        source: a file in UTF-8, with any suffix.

    Raises:
        ValueError: with file and line, if it is not UTF-8 or not JSON.
        OSError: if the file cannot be read.
    """
    return _items(source) if _holds_a_list(source) else _lines(source)


def check_plain(source: Path) -> None:
    """Refuse pipes and devices, which cannot be read twice, and may never end.

    Raises:
        ValueError: if there is something else than a file.
    """
    if source.exists() and not source.is_file() and not source.is_dir():
        raise ValueError(f"{source} is a pipe or a device: write its content into a file")


def _holds_a_list(source: Path) -> bool:
    check_plain(source)
    with source.open("rb") as stream:
        stream.seek(len(MARK) if stream.read(len(MARK)) == MARK else 0)
        while (byte := stream.read(1)) and byte in WHITE.encode():
            pass
    return byte == b"["


def _items(source: Path) -> Iterator[RawRecord]:
    """The values of a list, parsed one after the other: all at once would take several times the memory of the text."""
    text, parse = _decoded(source.read_bytes(), source, 0), json.JSONDecoder().raw_decode
    position, number = _after_space(text, _after_space(text, 0) + 1), 0
    while text[position : position + 1] != "]":
        if number:
            if text[position : position + 1] != ",":
                raise _not_json(str(source), json.JSONDecodeError("Expecting ',' delimiter", text, position))
            position = _after_space(text, position + 1)
        try:
            value, position = parse(text, position)
        except RecursionError as error:
            raise ValueError(f"{source}: nested too deeply") from error
        except ValueError as error:  # also a number with thousands of digits
            raise _not_json(str(source), error) from error
        number, position = number + 1, _after_space(text, position)
        yield RawRecord(number, f"{source}, record {number}", value)
    if (rest := _after_space(text, position + 1)) < len(text):
        raise _not_json(str(source), json.JSONDecodeError("Extra data", text, rest))


def _lines(source: Path) -> Iterator[RawRecord]:
    read_any, start = False, 0
    with source.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            text = _decoded(line, source, start)
            start += len(line)
            if not text.strip(WHITE):
                continue
            where = f"{source}, line {number}"
            try:
                value = _parsed(text, where)
            except ValueError:
                if not read_any and _is_json(source):
                    raise ValueError(
                        f"{source}: a list of records is expected, not one object: put it in [ ]"
                    ) from None
                raise
            read_any = True
            yield RawRecord(number, where, value)


def _decoded(content: bytes, source: Path, start: int) -> str:
    """Decode bytes that begin at byte `start` of the file."""
    try:
        return content.decode("utf-8-sig" if start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 (byte {start + error.start}): save it as UTF-8") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error
    except ValueError as error:  # also a number with thousands of digits
        raise _not_json(where, error) from error


def _not_json(where: str, error: ValueError) -> ValueError:
    return ValueError(f"{where}: not JSON ({error})")


def _is_json(source: Path) -> bool:
    try:
        json.loads(source.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _after_space(text: str, position: int) -> int:
    found = SPACE.match(text, position)
    assert found is not None
    return found.end()
