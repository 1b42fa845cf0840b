"""Rows of JSON and JSONL files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.rows.row import Row, Rows, a_list, an_object, found
from recipes.reading.json_file import read_values
from recipes.reading.json_value import read_value


class JsonRows(Rows):
    """A list of objects, one object on each line, or objects under a key of one object.

    Args:
        files: names of the file; the first that is there is read.
        under: key of the list or dictionary, if the file holds one object with more than that; null: it does not.
        ids: the file holds a dictionary, whose keys go into this field; null: it holds a list.
        value: field for the values of the dictionary, if they are no objects.
    """

    def __init__(
        self, files: Sequence[str], *, under: str | None = None, ids: str | None = None, value: str | None = None
    ) -> None:
        self.files, self.under, self.ids, self.value = files, under, ids, value

    def rows(self, folder: Path) -> Iterator[Row]:
        path = found(folder, self.files)
        if self.under is None and self.ids is None:
            for raw in read_values(path):
                yield Row(raw.where, raw.number, an_object(raw.value, raw.where))
            return
        whole = read_value(path)
        if self.under is not None:
            whole = Row(str(path), 1, an_object(whole, str(path))).of(self.under)
        if self.ids is not None:
            yield from self._of_dictionary(whole, path, self.ids)
            return
        for number, value in enumerate(a_list(whole, f"{path}, {self.under}"), start=1):
            where = f"{path}, {self.under} {number}"
            yield Row(where, number, an_object(value, where))

    def _of_dictionary(self, whole: Any, path: Path, ids: str) -> Iterator[Row]:
        for number, (key, value) in enumerate(an_object(whole, str(path)).items(), start=1):
            where = f"{path}, {key!r:.60}"
            fields = {self.value: value} if self.value is not None else an_object(value, where)
            yield Row(where, number, {ids: key, **fields})
