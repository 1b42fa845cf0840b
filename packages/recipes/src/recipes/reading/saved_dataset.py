"""Read records from a folder that the `save_to_disk` of Hugging Face's `datasets` has written."""

import json
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

from recipes.reading.arrow_rows import Columns
from recipes.reading.extras import extra
from recipes.reading.named_files import named_files
from recipes.reading.table_reader import TableReader, named_errors

STATE, SPLITS = "state.json", "dataset_dict.json"
END = b"\xff\xff\xff\xff\0\0\0\0"
"""The end of a stream in Arrow's IPC format; a file without it was cut."""


class SavedDatasetReader(TableReader):
    """Records of a saved data set; columns are keys, and pictures are embedded or named.

    Every process maps the Arrow files into memory, so that a picture is read without the rows before it.

    Args:
        path: the folder, with `state.json` and Arrow files.
        images: folder that the names of pictures are relative to.
        choose: chooses the columns, such as `columns_to_read`.

    Raises:
        ValueError: naming file and column, for damaged files and columns that cannot be used; if the folder holds
            several splits, or its rows are a selection by index; if there is no image folder.
        ImportError: without pyarrow.
        OSError: if a file cannot be read.
    """

    def __init__(self, path: Path, images: Path, choose: Columns) -> None:
        files, shown = _files_and_columns(path)
        columns, self._batches = list[list[str]](), list[Any]()
        rows = []
        for file in files:
            with named_errors(file):
                opened = _opened(file)
                found = choose(opened.schema)
            columns.append([name for name in found if shown is None or name in shown])
            rows.append(opened.num_rows)
        super().__init__(path, images, files, columns, rows)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_batches": []}

    def files(self) -> list[Path]:
        return [self.path / STATE, *self.tables]

    def row(self, number: int) -> tuple[Any, int]:
        if not self._batches:
            for file, columns in zip(self.tables, self.columns, strict=True):
                self._batches += _opened(file).select(columns).to_batches()
            self._batch_starts = [0, *accumulate(map(len, self._batches))]
        place = bisect_right(self._batch_starts, number - 1) - 1
        row = self._batches[place].slice(number - 1 - self._batch_starts[place], 1)
        row.validate(full=True)  # offsets in the file may not lead out of it
        return row, 0


def _files_and_columns(folder: Path) -> tuple[list[Path], list[str] | None]:
    """The Arrow files in their order, and the columns that the data set shows; None: all."""
    if (folder / SPLITS).is_file():
        raise ValueError(f"{folder} holds several splits: give one of them, such as {folder / 'train'}")
    try:
        state = json.loads((folder / STATE).read_bytes())
        parts = state.get("_data_files")
        names = [part["filename"] for part in parts]
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError) as error:
        raise ValueError(f"{folder / STATE} is not written by save_to_disk(): _data_files is not understood") from error
    for key in ("_indices_files", "_indices_data_files"):
        if state.get(key):
            raise ValueError(
                f"{folder / STATE}, {key}: the rows are a selection by index; apply flatten_indices() before "
                "save_to_disk()"
            )
    if not names:
        raise ValueError(f"{folder / STATE}, _data_files: it names no file")
    shown = None if state.get("_output_all_columns") else state.get("_format_columns")
    if shown is not None and not isinstance(shown, list):
        raise ValueError(f"{folder / STATE}, _format_columns: a list of columns is expected, not {str(shown)[:100]}")
    return named_files(folder / STATE, "_data_files", names), shown


def _opened(file: Path) -> Any:
    """The table of a file; it stays on disk, and is mapped as long as anything of it is in use."""
    arrow = extra("pyarrow", "parquet", "reading Arrow files")
    with file.open("rb") as opened:
        opened.seek(-min(len(END), file.stat().st_size), 2)
        if opened.read() != END:
            raise ValueError("cut, or not written by save_to_disk()")
    return arrow.ipc.open_stream(arrow.memory_map(str(file))).read_all()
