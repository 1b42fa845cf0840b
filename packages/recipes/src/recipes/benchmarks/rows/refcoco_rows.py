"""RefCOCO's files: regions of pictures, each with sentences that describe it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.benchmarks.rows.json_rows import JsonRows
from recipes.benchmarks.rows.plain_pickle import read_plain_pickle
from recipes.benchmarks.rows.row import Row, Rows, a_list, an_object, found

INSTANCES = "instances.json"


class RefCocoRows(Rows):
    """A region for each row, from `refs(...).p` and the `instances.json` beside it (lichengunc/refer).

    The pickle is read as `read_plain_pickle` does. Fields are `ref_id`, `split`, `sentences` (a list of texts), `image`
    (name of the file), `box` (left, top, width, height, in pixels), `width` and `height` of the picture.

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
        refs = a_list(read_plain_pickle(path), str(path))
        for number, ref in enumerate(refs, start=1):
            where = f"{path}, record {number}"
            row = Row(where, number, an_object(ref, where))
            box, picture = boxes.get(row.text("ann_id")), pictures.get(row.text("image_id"))
            if box is None or picture is None:
                raise ValueError(f"{where}: {beside} lacks its annotation {row.text('ann_id')} or its picture")
            sentences = a_list(row.of("sentences"), f"{where}, sentences")
            fields = {
                "ref_id": row.text("ref_id"),
                "split": row.text("split"),
                "sentences": [Row(where, number, an_object(each, where)).text("sent") for each in sentences],
                "image": picture.text("file_name"),
                "box": box.of("bbox"),
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
            several = a_list(row.of(self.field), f"{row.where}, {self.field}")
            for place, each in enumerate(several, start=1):
                yield row._replace(fields={**row.fields, self.field: each, "place": place})


def _instances(path: Path) -> tuple[dict[str, Row], dict[str, Row]]:
    """Annotations and pictures by id."""
    annotations, pictures = (JsonRows([path.name], under=key).rows(path.parent) for key in ("annotations", "images"))
    return {row.text("id"): row for row in annotations}, {row.text("id"): row for row in pictures}
