"""Files that hold many records and pictures, small and valid, and what reads them."""

import io
import json
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tests.fuzz.data import Read, encoded_pictures, said
from tests.fuzz.mutate import changed_bytes, changed_value

TALK = [said("user", "<image>\nWhat?"), said("assistant", "A.")]
Files = dict[str, bytes]


def valid_files() -> dict[str, Files]:
    """For every kind its files, by name; the first is the one to be opened, or is in the folder to be opened."""
    first, second = encoded_pictures()[0], encoded_pictures()[5]
    rows = [
        {"id": str(number), "image": {"bytes": each, "path": "a"}, "messages": TALK}
        for number, each in enumerate((first, second))
    ]
    table = pa.Table.from_pylist(rows)
    parquet, arrow = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, compression="none")
    with pa.ipc.new_stream(arrow, table.schema) as stream:
        stream.write_table(table)
    state = {"_data_files": [{"filename": "a.arrow"}], "_format_columns": None}
    chunk, index = shard(
        [({"id": "a", "image": "0", "messages": TALK}, first), ({"id": "b", "image": "0", "caption": "A"}, second)]
    )
    members = [
        ("a.png", first),
        ("a.json", json.dumps({"messages": TALK}).encode()),
        ("b.jpg", second),
        ("b.txt", b"A cat."),
    ]
    pages = io.BytesIO()
    Image.new("RGB", (60, 40)).save(pages, "PDF", save_all=True, append_images=[Image.new("L", (30, 30))])
    record = [{"image": "a.pdf#page=2", "messages": TALK}]
    return {
        "parquet": {"a.parquet": parquet.getvalue()},
        "saved": {"state.json": json.dumps(state).encode(), "a.arrow": arrow.getvalue()},
        "tar": {"a.tar": packed(members)},
        "shards": {"index.json": index, "chunk-0-0.bin": chunk},
        "pdf": {"a.jsonl": json.dumps(record[0]).encode(), "a.pdf": pages.getvalue()},
    }


def packed(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def shard(records: list[tuple[Any, bytes]]) -> tuple[bytes, bytes]:
    """A chunk of records with one picture each, and the index."""
    items = []
    for record, picture in records:
        text = json.dumps({"record": record, "pictures": [len(picture)]}).encode()
        items.append(struct.pack("<2I", len(text), len(picture)) + text + picture)
    positions = [4 * (len(items) + 2)]
    for item in items:
        positions.append(positions[-1] + len(item))
    chunk = struct.pack(f"<{len(positions) + 1}I", len(items), *positions) + b"".join(items)
    named = [{"filename": "chunk-0-0.bin", "chunk_bytes": len(chunk), "chunk_size": len(items)}]
    return chunk, json.dumps({"chunks": named, "config": {"data_format": ["bytes", "bytes"]}}).encode()


def with_tar_checksums(content: bytes) -> bytes:
    """A tar with the right checksum of every header, so that what was changed is read."""
    data = bytearray(content)
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    return bytes(data)


def containers(folder: Path) -> Read:
    from recipes.data.index.open_records import open_records
    from recipes.reading.pictures import read_picture

    valid = valid_files()

    def read(path: Path) -> None:
        for record in open_records(path):
            for source in record.images:
                read_picture(source)

    def make(draw: random.Random) -> Callable[[], object]:
        kind = draw.choice(list(valid))
        files = dict(valid[kind])
        name = draw.choice(list(files))
        if name.endswith((".json", ".jsonl")) and draw.random() < 0.8:
            files[name] = json.dumps(changed_value(json.loads(files[name]), draw)).encode()
        else:
            files[name] = changed_bytes(files[name], draw)
        if kind == "tar" and draw.random() < 0.7:
            files[name] = with_tar_checksums(files[name])
        if kind == "shards" and draw.random() < 0.7:
            # The size in the index fits, so that what was changed is read.
            size = str(len(valid[kind]["chunk-0-0.bin"])).encode()
            files["index.json"] = files["index.json"].replace(size, str(len(files["chunk-0-0.bin"])).encode())
        target = folder / str(draw.randrange(10**9))
        target.mkdir()
        for each, content in files.items():
            (target / each).write_bytes(content)
        opened = target if kind in ("saved", "shards") else target / next(iter(files))
        return lambda: read(opened)

    return make
