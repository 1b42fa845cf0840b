"""Questions made of rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.item import Item, PictureOf
from recipes.benchmarks.pictures import FilePicture, FileVideo
from recipes.benchmarks.records import Records
from recipes.benchmarks.rows.row import NoFileError, Row, Rows, inside
from recipes.reading.pictures import PictureFolder


class RowRecords(Records):
    """Every row is a question.

    Args:
        rows: where they are.
        values: names of values, each with the field that holds it.
        derived: values that are made of fields.
        id: template of a question's id, such as `{questionId}`; by default its number.
        images: templates of the names of its pictures. A field that is a list stands for as many pictures, one that is
            empty for none; pictures that are stored in the rows are taken as they are.
        folders: where the pictures may be; the first of these folders that is there is taken.
        bare: pictures are in one folder, without the folders that the file names before them.
        text_only: some questions have no picture; otherwise a question without one is an error.
        videos: templates of the names that its video may have, relative to the benchmark's folder.
        only: fields with the text, or the texts, that rows of this benchmark have; others are left out.
        must_be: fields with the text that all rows of this split have.
    """

    def __init__(
        self,
        rows: Rows,
        values: Mapping[str, str],
        *,
        derived: Sequence[Derived] = (),
        id: str = "{number}",
        images: Sequence[str] = (),
        folders: Sequence[str] = (".",),
        bare: bool = False,
        text_only: bool = False,
        videos: Sequence[str] = (),
        only: Mapping[str, str | Sequence[str]] | None = None,
        must_be: Mapping[str, str] | None = None,
    ) -> None:
        self.rows, self.values, self.derived, self.id, self.images = rows, values, derived, id, images
        self.folders, self.bare, self.text_only, self.videos = folders, bare, text_only, videos
        self.only, self.must_be = only or {}, must_be or {}

    def items(self, folder: Path) -> Iterator[Item]:
        pictures, rows, kept = _Pictures(folder, self.folders, self.bare), 0, 0
        for row in self.rows.rows(folder):
            rows += 1
            if any(row.text(key) not in _texts(wanted) for key, wanted in self.only.items()):
                continue
            kept += 1
            for key, wanted in self.must_be.items():
                if row.text(key) != wanted:
                    raise ValueError(
                        f"{row.where}, {key}: is {row.text(key)!r:.60}, but this benchmark is of {wanted!r}: "
                        "these are the files of another split or version"
                    )
            yield self._item(row, folder, pictures)
        if rows and not kept:
            wanted = ", ".join(f"{key} {' or '.join(_texts(value))}" for key, value in self.only.items())
            raise ValueError(f"{folder}: none of {rows} rows has {wanted}")

    def _item(self, row: Row, folder: Path, pictures: "_Pictures") -> Item:
        values: dict[str, Any] = {name: row.of(field) for name, field in self.values.items()}
        for derived in self.derived:
            values |= derived.values(row)
        shown = tuple(picture for template in self.images for picture in pictures.of(row, template))
        if self.images and not shown and not self.text_only:
            raise ValueError(f"{row.where}: {', '.join(self.images)} is empty, but the question needs a picture")
        return Item(row.filled(self.id), values, shown, self._video(row, folder), row.where)

    def _video(self, row: Row, folder: Path) -> FileVideo | None:
        names = tuple(row.filled(template) for template in self.videos)
        return FileVideo(names, PictureFolder(folder), row.where) if names else None


def _texts(wanted: str | Sequence[str]) -> Sequence[str]:
    return [wanted] if isinstance(wanted, str) else wanted


class FirstThatIsThere(Records):
    """A benchmark whose files people have in several layouts.

    Args:
        records: for every layout; the first whose file is there is read.
    """

    def __init__(self, records: Sequence[Records]) -> None:
        self.records = records

    def items(self, folder: Path) -> Iterator[Item]:
        names: list[str] = []
        for records in self.records:
            items = records.items(folder)
            try:
                first = next(items)
            except NoFileError as error:
                names += error.names
            except StopIteration:
                return
            else:
                yield first
                yield from items
                return
        raise NoFileError(folder, list(dict.fromkeys(names)))


class _Pictures:
    """Finds the pictures of rows; the folder is looked for when the first file is named."""

    def __init__(self, folder: Path, names: Sequence[str], bare: bool) -> None:
        self.folder, self.names, self.bare = folder, names, bare
        self._found: PictureFolder | None = None

    def of(self, row: Row, template: str) -> Iterator[PictureOf]:
        for field in row.fields_of(template):
            value = row.of(field)
            if value in (None, "", []):
                return
            if isinstance(value, list):
                for each in value:
                    yield from self.of(row._replace(fields={**row.fields, field: each}), template)
                return
            if hasattr(value, "find") and not isinstance(value, str | bytes):
                yield value
                return
        name = row.filled(template)
        yield FilePicture(name.rpartition("/")[2] if self.bare else name, self._folder(row), f"{row.where}, {template}")

    def _folder(self, row: Row) -> PictureFolder:
        if self._found is None:
            folders = (inside(self.folder, name) for name in self.names)
            if (there := next((folder for folder in folders if folder.is_dir()), None)) is None:
                raise ValueError(
                    f"{row.where}: its pictures should be in {self.folder / self.names[0]}, which is missing"
                )
            self._found = PictureFolder(there)
        return self._found
