"""The speed of reading pictures in random order from every kind of data: `python -m tools.bench.readers`."""

import argparse
import io
import json
import random
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from recipes.commands.shard import write_shards
from recipes.reading.open_reader import open_reader
from recipes.reading.pictures import read_picture
from recipes.reading.reader import Reader
from tools.bench.timing import machine

TALK = [{"role": "user", "content": "What is the total?"}, {"role": "assistant", "content": "12.50"}]


def photo(number: int) -> bytes:
    """A JPEG of 640 x 480 pixels, of about 80 kB."""
    noise = np.random.default_rng(number).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def written(folder: Path, count: int) -> Mapping[str, Path]:
    """The same records in every kind of data, by its name."""
    photos = [photo(number) for number in range(min(count, 200))]
    (folder / "pictures").mkdir()
    rows = []
    for number in range(count):
        (folder / "pictures" / f"{number}.jpg").write_bytes(photos[number % len(photos)])
        rows.append({"id": f"{number}", "image": f"pictures/{number}.jpg", "messages": TALK})
    (folder / "json.json").write_text(json.dumps(rows))
    embedded = [{"bytes": photos[number % len(photos)], "path": f"{number}.jpg"} for number in range(count)]
    table = pa.table({"image": embedded, "messages": [TALK] * count})
    # Repeated pictures would be stored once.
    for size in (100, 1000):
        pq.write_table(table, folder / f"{size}.parquet", row_group_size=size, use_dictionary=False)
    saved(folder / "saved", table)
    with tarfile.open(folder / "tar.tar", "w") as tar:
        for number in range(count):
            text = json.dumps({"messages": TALK}).encode()
            for name, content in ((f"{number}.jpg", photos[number % len(photos)]), (f"{number}.json", text)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    write_shards(folder / "json.json", None, folder / "shards")
    return {
        "JSON and files": folder / "json.json",
        "Parquet, 100 rows in a group": folder / "100.parquet",
        "Parquet, 1000 rows in a group": folder / "1000.parquet",
        "saved data set": folder / "saved",
        "WebDataset tar": folder / "tar.tar",
        "shards": folder / "shards",
    }


def saved(folder: Path, table: Any) -> None:
    """Write a table as `save_to_disk` does, in batches of 1000 rows."""
    folder.mkdir()
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=1000)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))


def anonymous() -> float:
    """Megabytes of this process that are not parts of mapped files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def per_second(reader: Reader, names: list[str], seconds: float, *, decoded: bool) -> float:
    """Pictures per second of processor time, which other work on the machine does not change, in random order."""
    choose, made, start = random.Random(0), 0, time.process_time()
    while time.process_time() - start < seconds or made < 1:
        source = reader.picture(choose.choice(names), "")
        if decoded:
            read_picture(source)
        elif isinstance(source, Path):
            source.read_bytes()
        made += 1
    return made / (time.process_time() - start)


def growth(reader: Reader, names: list[str], reads: int) -> float:
    """Megabytes that a process grows by in this many random reads, after the first hundredth of them."""
    choose, before = random.Random(1), 0.0
    for number in range(reads):
        if number == reads // 100:
            before = anonymous()
        reader.picture(choose.choice(names), "")
    return anonymous() - before


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few pictures, to check that everything runs")
    tiny = parser.parse_args().tiny
    count, seconds, reads = (20, 0.01, 100) if tiny else (4000, 3.0, 2_000)
    print(machine())
    print(f"\n{count} JPEGs of 640 x 480 in random order, per second of one core; files in the page cache\n")
    print("| data | records/s, once | pictures/s, encoded | pictures/s, decoded | growth in 2,000 reads |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in written(Path(folder), count).items():
            reader, start = open_reader(path), time.process_time()
            names = [raw.value["image"] for raw in reader.records()]
            once = len(names) / (time.process_time() - start)
            speeds = [per_second(reader, names, seconds, decoded=decoded) for decoded in (False, True)]
            grown = growth(reader, names, reads)
            print(f"| {name} | {once:,.0f} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {grown:.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
