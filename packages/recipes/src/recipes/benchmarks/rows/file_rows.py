"""Rows of many small files, and of lines of two words."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.benchmarks.rows.row import NoFileError, Row, Rows, found, inside
from recipes.reading.json_value import read_value


class FolderRows(Rows):
    """A folder of text files, each of which holds one JSON value; fields are `name` (without suffix) and `content`.

    Args:
        folders: names of the folder; the first that has such files is read.
        suffix: of the files.
    """

    def __init__(self, folders: Sequence[str], *, suffix: str = ".txt") -> None:
        self.folders, self.suffix = folders, suffix

    def rows(self, folder: Path) -> Iterator[Row]:
        for place in self.folders:
            pattern = inside(folder, f"{place}/*{self.suffix}")
            if files := sorted(folder.glob(str(pattern.relative_to(folder)))):
                break
        else:
            raise NoFileError(folder, [f"{place}/*{self.suffix}" for place in self.folders])
        for number, file in enumerate(files, start=1):
            yield Row(str(file), number, {"name": file.stem, "content": read_value(file)})


class PairRows(Rows):
    """A file with two words on each line.

    Args:
        files: names of the file; the first that is there is read.
        fields: the field for each of both words.
    """

    def __init__(self, files: Sequence[str], fields: tuple[str, str]) -> None:
        self.files, self.fields = files, fields

    def rows(self, folder: Path) -> Iterator[Row]:
        path = found(folder, self.files)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if words and len(words) != 2:
                raise ValueError(f"{path}, line {number}: two words are expected, not {line!r:.100}")
            if words:
                yield Row(f"{path}, line {number}", number, dict(zip(self.fields, words, strict=True)))
