"""Write conversations and their pictures into a few large files, which storage in the network delivers quickly."""

import argparse
import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from foveal.core.folders import whole_folder
from recipes.command_line.console import short_errors
from recipes.data.index.open_records import open_records
from recipes.data.mixture import SUFFIXES as MIXTURES
from recipes.reading.extras import extra
from recipes.reading.pdf import PdfPage, render_page
from recipes.reading.pictures import Source
from recipes.reading.reader import RawRecord, Reader
from recipes.reading.rename import picture_names, rename_pictures
from recipes.reading.shards import INDEX

CHUNK_BYTES = 64_000_000
"""Bytes of a shard; the one record that crosses the limit still belongs to it."""


def write_shards(path: Path, images: Path | None, target: Path) -> int:
    """Write conversations and their pictures as chunks of litdata, which `ShardReader` reads.

    Pictures keep their encoded bytes. Pages of PDF files are rendered, and stored as PNG. The folder is written
    completely or not at all.

    Args:
        path: as for `open_records`.
        images: as for `open_records`.
        target: new folder.

    Returns:
        The number of conversations.

    Raises:
        ValueError: if `path` is a mixture; as for `open_records`, for any conversation that cannot be used.
        ImportError: without litdata.
        OSError: if a file cannot be read or written.
    """
    if path.suffix.lower() in MIXTURES:
        raise ValueError(f"{path} is a mixture: write the shards of each of its files, and name those in the mixture")
    writer = extra("litdata.streaming.writer", "stream", "writing shards")
    records = open_records(path, images)
    console = Console(file=sys.stderr)
    bar: dict[str, Any] = {"console": console, "transient": True, "disable": not console.is_terminal}
    with whole_folder(target) as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="An item was larger than the target chunk size")
        chunks = writer.BinaryWriter(str(folder), chunk_bytes=CHUNK_BYTES)
        for number, raw in enumerate(track(records.reader.records(), "writing", len(records), **bar)):
            chunks.add_item(number, _item(raw, records.reader))
        chunks.done()
        # Its own merge would wait for the indices of all ranks that the environment promises.
        (index,) = folder.glob(f"*.{INDEX}")
        os.replace(index, folder / INDEX)
    return len(records)


def _item(raw: RawRecord, reader: Reader) -> tuple[bytes, bytes]:
    """JSON of the record, in which the names of pictures are their numbers, and the pictures one after the other."""
    names = list(dict.fromkeys(picture_names(raw.value)))
    pictures = [_encoded(reader.picture(name, f"{raw.where}, image")) for name in names]
    numbers = {name: str(number) for number, name in enumerate(names)}
    stored = {"record": rename_pictures(raw.value, lambda name: numbers[name]), "pictures": list(map(len, pictures))}
    return json.dumps(stored, separators=(",", ":")).encode(), b"".join(pictures)


def _encoded(source: Source) -> bytes:
    if isinstance(source, PdfPage):
        stream = io.BytesIO()
        render_page(source).save(stream, "PNG")
        return stream.getvalue()
    return source if isinstance(source, bytes) else source.read_bytes()


def main(options: argparse.Namespace) -> None:
    """Write the shards, and print the number of conversations.

    Args:
        options: as `shard_options` returns them.

    Raises:
        SystemExit: with 1 for data that cannot be used.
    """
    with short_errors():
        records = write_shards(options.path, options.images, options.out)
    print(f"{options.out}: {records} conversations")
