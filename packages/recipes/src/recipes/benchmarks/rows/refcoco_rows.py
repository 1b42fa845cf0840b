"""RefCOCO's files: regions of pictures, each with sentences that describe it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.rows.plain_pickle import read_plain_pickle
from recipes.benchmarks.rows.row import Row, Rows, found

INSTANCES = "instances.json"


class RefCocoRows(Rows):
    """A region for each row, from `refs(...).p` and the `instances.json` beside it (lichengunc/refer).

    The pickle is read as `read_plain_pickle` does. Fields are `ref_id`, `split`, `sentences` (a list of texts), `image`
    (name of the file), `box` (left, top, right, bottom, in pixels), `width` and `height` of the picture.

    Args:
        files: names of the pickle; the first that is there is read.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def rows(self, folder: Path) -> Iterator[Row]:
        path = found(folder, self.files)
        beside = path.parent / INSTANCES
        if not beside.is_file():
            raise ValueError(f"{path}: the file with the boxes, {beside}, is missing")
        boxes, pictures = _instances(beside)
        refs = read_plain_pickle(path)
        if not isinstance(refs, list) or not all(isinstance(ref, Mapping) for ref in refs):
            raise ValueError(f"{path}: a list of objects is expected")
        for number, ref in enumerate(refs, start=1):
            row = Row(f"{path}, record {number}", number, ref)
            box, picture = boxes.get(row.of("ann_id")), pictures.get(row.of("image_id"))
            if box is None or picture is None:
                raise ValueError(f"{row.where}: {beside} lacks its annotation {row.of('ann_id')} or its picture")
            left, top, width, height = box.of("bbox")
            fields = {
                "ref_id": row.of("ref_id"),
                "split": row.text("split"),
                "sentences": [Row(row.where, number, each).text("sent") for each in row.of("sentences")],
                "image": picture.text("file_name"),
                "box": [left, top, left + width, top + height],
                "width": picture.of("width"),
                "height": picture.of("height"),
            }
            yield row._replace(fields=fields)


class ExplodedRows(Rows):
    """A row for every element of a list.

    Args:
        rows: with the lists.
        field: that holds a list; each of the new rows has one element there, and its position from 1 in `place`.
    """

    def __init__(self, rows: Rows, field: str) -> None:
        self.inner, self.field = rows, field

    def rows(self, folder: Path) -> Iterator[Row]:
        for row in self.inner.rows(folder):
            several = row.of(self.field)
            if not isinstance(several, list):
                raise ValueError(f"{row.where}, {self.field}: a list is expected, not {several!r:.100}")
            for place, each in enumerate(several, start=1):
                yield row._replace(fields={**row.fields, self.field: each, "place": place})


def _instances(path: Path) -> tuple[dict[Any, Row], dict[Any, Row]]:
    """Annotations and pictures by id."""
    try:
        whole = Row(str(path), 1, json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({str(error)[:200]})") from error
    found = []
    for key in ("annotations", "images"):
        rows = [Row(f"{path}, {key} {number}", number, each) for number, each in enumerate(whole.of(key), start=1)]
        found.append({row.of("id"): row for row in rows})
    return found[0], found[1]
