"""Parquet, with pictures in it and beside it."""

import json
import pickle
import random
import struct
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipes.data.index.open_records import open_records
from recipes.reading.open_reader import open_reader
from recipes.reading.pictures import picture_size

BYTES = [f"picture {number}".encode() for number in range(6)]
TALK = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "1"}]


def embedded(name, folder):
    return {"bytes": (folder / name).read_bytes(), "path": name}


def with_bytes(records):
    """The records with their pictures as Hugging Face's libraries embed them."""
    rows = json.loads(records.read_text())
    for row in rows:
        if "image" in row:
            row["image"] = embedded(row["image"], records.parent)
        if "images" in row:
            row["images"] = [embedded(name, records.parent) for name in row["images"]]
    return rows


def written(path, rows, **options):
    keys = dict.fromkeys(key for row in rows for key in row)
    pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in keys}), path, **options)
    return path


def test_the_same_as_from_json(records, contents, tmp_path):
    wanted = contents(open_reader(records))
    rows = with_bytes(records)
    assert contents(open_reader(written(tmp_path / "a.parquet", rows))) == wanted
    assert contents(open_reader(written(tmp_path / "one_by_one.parquet", rows, row_group_size=1))) == wanted
    named = written(tmp_path / "named.parquet", json.loads(records.read_text()))
    assert contents(open_reader(named, records.parent)) == wanted
    plain = [row | ({"image": row["image"]["bytes"]} if "image" in row else {}) for row in rows]
    assert contents(open_reader(written(tmp_path / "plain.parquet", plain))) == wanted


def test_a_folder_of_files(records, contents, tmp_path):
    rows = with_bytes(records)
    for part in range(3):
        written(tmp_path / f"train-{part:05}-of-00003.parquet", rows[2 * part : 2 * part + 2])
    (tmp_path / "README.md").write_text("about")
    reader = open_reader(tmp_path)
    assert contents(reader) == contents(open_reader(records))
    assert [file.name[:11] for file in reader.files()] == ["train-00000", "train-00001", "train-00002"]
    assert [reader.location(number) for number in (2, 3)] == [
        f"{tmp_path / 'train-00000-of-00003.parquet'}, row 2",
        f"{tmp_path / 'train-00001-of-00003.parquet'}, row 1",
    ]
    (tmp_path / "train-00001-of-00003.parquet").rename(tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="holds several data sets: test-of-00001, train-of-00003"):
        open_reader(tmp_path)
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="lacks parts of train-of-00003: number 1, 1 in all"):
        open_reader(tmp_path)


@given(st.lists(st.lists(st.sampled_from(BYTES), max_size=3), min_size=1, max_size=90), st.integers(1, 100))
@settings(max_examples=20, deadline=None)
def test_any_order(tmp_path_factory, lists, size):
    """Of any row, in any order, also after pickling; groups are larger and smaller than what is decoded at a time."""
    rows = [{"images": [{"bytes": each, "path": None} for each in pictures]} for pictures in lists]
    table = pa.table({"images": pa.array([row["images"] for row in rows], IMAGES)})
    path = tmp_path_factory.mktemp("order") / "a.parquet"
    pq.write_table(table, path, row_group_size=size)
    reader = open_reader(path)
    named = [value["images"] for _, _, value in reader.records()]
    reader = pickle.loads(pickle.dumps(reader))
    wanted = list(zip(chain.from_iterable(named), chain.from_iterable(lists), strict=True))
    random.Random(0).shuffle(wanted)
    assert [reader.picture(name, "") for name, _ in wanted] == [each for _, each in wanted]


IMAGES = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def test_what_has_no_bytes(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
    rows = [{"image": {"bytes": None, "path": name}, "messages": TALK} for name in ("a.png", None, "../a.png", "b.png")]
    reader = open_reader(written(tmp_path / "a.parquet", rows))
    values = [raw.value for raw in reader.records()]
    assert [value.get("image") for value in values] == ["a.png", None, "../a.png", "b.png"]
    assert picture_size(reader.picture("a.png", "here")) == (8, 4)
    for name, message in {
        "../a.png": "here: .* is outside",
        "embedded:2/image/0": "here: no bytes of a picture",
        "embedded:1/image/1": "here: no bytes of a picture",
        "embedded:1/images/0": "here: no bytes of a picture",
        "embedded:9/image/0": "here: there is no row 9",
    }.items():
        with pytest.raises(ValueError, match=message):
            reader.picture(name, "here")


def test_a_small_file_with_large_pictures(tmp_path):
    """A dictionary holds a picture once, for all rows; decoded together, they would fill the memory."""
    pictures = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([bytes(16_000_000)]))
    path = tmp_path / "a.parquet"
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    pq.write_table(pa.table({"image": pictures}), path, **options)
    reader = open_reader(path)
    assert path.stat().st_size < 10_000
    for number in (1, 6, 3):
        assert len(reader.picture(f"embedded:{number}/image/0", "")) == 16_000_000
    assert pa.default_memory_pool().max_memory() < 250_000_000


def test_a_damaged_picture_is_named(records, tmp_path):
    rows = with_bytes(records)
    rows[2]["image"]["bytes"] = b"<html>"
    with pytest.raises(ValueError, match=r"a\.parquet, row 3 \(id c\), image: .* not a picture of a known kind"):
        open_records(written(tmp_path / "a.parquet", rows))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [[[1, 2], [3, 4]]]}, r"'image' holds list<.*>; expected are encoded pictures"),
        ({"image": [{"path": "a"}]}, r"'image' holds struct<path: string>; expected"),
        ({"text": [b"a"]}, r"'text' holds binary; expected are texts"),
        ({"messages": [[{"role": "user", "content": b"a"}]]}, r"'messages' holds list<.*binary"),
        ({"picture": [b"a"]}, "'picture' is not read; did you mean 'image'"),
        ({"video": [b"a"]}, "'video' is not read, only pictures are"),
        ({"image": [b"a"], "question": ["a"], "answers": [["b"]]}, "'question' and 'answers' are no conversation"),
    ],
)
def test_columns_that_are_refused(tmp_path, columns, message):
    with pytest.raises(ValueError, match=rf"a\.parquet: (?s:.*){message}") as caught:
        open_reader(written(tmp_path / "a.parquet", pa.table(columns).to_pylist()))
    assert len(str(caught.value).splitlines()) <= 3


def test_unknown_columns_are_not_read(tmp_path):
    rows = [
        {"text": "a", "source": "web", "vector": [0.5], "mask": b"m", "imgs": None},
        {"text": "b", "source": "web", "vector": [0.5], "mask": b"m", "imgs": "a.png"},
    ]
    first, second = (raw.value for raw in open_reader(written(tmp_path / "a.parquet", rows)).records())
    assert (first, second) == ({"text": "a"}, {"text": "b", "imgs": "a.png"})


def test_files_that_are_refused(records, tmp_path):
    path = written(tmp_path / "a.parquet", with_bytes(records), compression="none")
    content = path.read_bytes()
    for broken in (content[:-9], b"", b"[]", content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"a\.parquet: damaged"):
            open_reader(path)
    place = content.index(b"RIFF") - 12
    path.write_bytes(content[:place] + b"\xff" * 12 + content[place + 12 :])
    with pytest.raises(ValueError, match=r"a\.parquet, row"):
        list(open_reader(path).records())
    with pytest.raises(FileNotFoundError):
        open_reader(tmp_path / "none.parquet")


def test_texts_that_are_refused(tmp_path):
    for text, message in ((b"\xff", "a text is not UTF-8"), (b"embedded:1/image/0", "a file cannot be called")):
        strings = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<2i", 0, len(text))), pa.py_buffer(text))
        pq.write_table(pa.table({"image": strings}), tmp_path / "a.parquet")
        with pytest.raises(ValueError, match=rf"a\.parquet, row 1: .*({message})"):
            list(open_reader(tmp_path / "a.parquet").records())
