"""Questions in a JSON or JSONL file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.benchmarks.item import Item
from recipes.benchmarks.records import Records
from recipes.reading.json_file import read_values
from recipes.reading.pictures import PictureFolder, Source


@dataclass(frozen=True)
class FilePicture:
    """A picture that is a file in a folder, or written out as `data:image/...;base64,`."""

    name: str
    folder: PictureFolder
    where: str

    def find(self) -> Source:
        return self.folder.find(self.name, self.where)


class JsonRecords(Records):
    """A JSON file of objects: a list, one on each line, or under a key of one object.

    Args:
        files: names of the file; the first that is there is read.
        values: name of each value, and the key that holds it.
        id: key of the id.
        image: key of the picture's name, or of a list of names; null: there are no pictures.
        under: key of the list, if the file holds one object.
        folders: where the pictures may be; the first of these folders that is there is taken.
        picture: how a picture is called, with `{}` for what is under `image`.
        must_be: keys with the value that this split has.
    """

    def __init__(
        self,
        files: Sequence[str],
        values: Mapping[str, str],
        *,
        id: str = "id",
        image: str | None = "image",
        under: str | None = None,
        folders: Sequence[str] = (".",),
        picture: str = "{}",
        must_be: Mapping[str, str] | None = None,
    ) -> None:
        self.files, self.values, self.id, self.image, self.under = files, values, id, image, under
        self.folders, self.picture, self.must_be = folders, picture, must_be or {}

    def items(self, folder: Path) -> Iterator[Item]:
        path = found(folder, self.files)
        pictures = PictureFolder(found(folder, self.folders)) if self.image is not None else None
        for where, record in self._records(path):
            for key, wanted in self.must_be.items():
                if (value := of(record, key, where)) != wanted:
                    raise ValueError(f"{where}, {key}: is {value!r:.100}, but this benchmark's split has {wanted!r}")
            values = {name: of(record, key, where) for name, key in self.values.items()}
            key = str(of(record, self.id, where))
            if pictures is None or self.image is None:
                yield Item(key, values, where=where)
                continue
            named = of(record, self.image, where)
            names = [self.picture.format(name) for name in ([named] if isinstance(named, str | int) else named)]
            shown = tuple(FilePicture(name, pictures, f"{where}, {self.image}") for name in names)
            yield Item(key, values, shown, where=where)

    def _records(self, path: Path) -> Iterator[tuple[str, Any]]:
        if self.under is None:
            yield from ((where, value) for _, where, value in read_values(path))
            return
        try:
            whole = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not JSON ({error})") from error
        for number, value in enumerate(of(whole, self.under, str(path)), start=1):
            yield f"{path}, {self.under} {number}", value


def found(folder: Path, names: Sequence[str]) -> Path:
    """The first of some files or folders that is there.

    Raises:
        ValueError: naming all of them, if there is none.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{folder} has none of {', '.join(names)}: give the benchmark's folder with --data")


def of(record: Any, key: str, where: str) -> Any:
    """The value under a key of a record.

    Raises:
        ValueError: naming file and key, if it is missing.
    """
    if not isinstance(record, Mapping) or key not in record:
        there = ", ".join(map(str, record)) if isinstance(record, Mapping) else f"a {type(record).__name__}"
        raise ValueError(f"{where}: there is no {key!r}, only {there:.200}")
    return record[key]
