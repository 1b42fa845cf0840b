"""Shards: written with litdata, read without it."""

import base64
import json
import pickle
import random
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipes.commands.shard import write_shards
from recipes.reading.open_reader import open_reader
from recipes.reading.pictures import picture_at, read_picture

TALK = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "1"}]
SETTINGS = {"data_format": ["bytes", "bytes"], "compression": None, "encryption": None}


@pytest.fixture(scope="module")
def shards(records, tmp_path_factory):
    """The records as litdata writes them, a few in each shard."""
    folder = tmp_path_factory.mktemp("shards") / "new"
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("recipes.commands.shard.CHUNK_BYTES", 700)
        assert write_shards(records, None, folder) == 5
    return folder


def item(record, *pictures):
    """An item of a chunk: a record and its pictures."""
    text = json.dumps({"record": record, "pictures": [len(each) for each in pictures]}).encode()
    return struct.pack("<2I", len(text), sum(map(len, pictures))) + text + b"".join(pictures)


def written(folder, *chunks, **changes):
    """Writes chunks of items by hand."""
    named = []
    for number, items in enumerate(chunks):
        positions = [4 * (len(items) + 2)]
        for each in items:
            positions.append(positions[-1] + len(each))
        content = struct.pack(f"<{len(positions) + 1}I", len(items), *positions) + b"".join(items)
        (folder / f"chunk-0-{number}.bin").write_bytes(content)
        named.append({"filename": f"chunk-0-{number}.bin", "chunk_bytes": len(content), "chunk_size": len(items)})
    (folder / "index.json").write_text(json.dumps({"chunks": named, "config": SETTINGS | changes}))
    return folder


def test_the_same_as_from_json(records, contents, shards):
    reader = open_reader(shards)
    assert contents(reader) == contents(open_reader(records))
    assert contents(pickle.loads(pickle.dumps(reader))) == contents(reader)
    chunks = sorted(shards.glob("*.bin"))
    assert len(chunks) > 1
    assert reader.files() == [shards / "index.json", *chunks]
    assert [raw.where for raw in reader.records()] == [reader.location(number) for number in range(1, 6)]
    assert reader.location(1) == f"{chunks[0]}, record 1"


def test_litdata_reads_them(records, contents, shards, tmp_path):
    """The pictures of an item are one after the other, as its text says."""
    from litdata import StreamingDataset

    found = []
    for text, pictures in StreamingDataset(str(shards), cache_dir=str(tmp_path), shuffle=False):
        sizes = json.loads(bytes(text))["pictures"]
        ends = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        found.append([bytes(pictures)[start:end] for start, end in pairwise(ends)])
    assert [set(each) for each in found] == [set(pictures) for *_, pictures in contents(open_reader(records))]


def test_pages_and_written_out_pictures(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.pdf", resolution=72)
    Image.new("RGB", (1, 1)).save(tmp_path / "b.png")
    uri = f"data:image/png;base64,{base64.b64encode((tmp_path / 'b.png').read_bytes()).decode()}"
    (tmp_path / "a.json").write_text(json.dumps([{"images": ["a.pdf", uri, "a.pdf"], "messages": TALK}]))
    write_shards(tmp_path / "a.json", None, tmp_path / "out")
    reader = open_reader(tmp_path / "out")
    (raw,) = reader.records()
    page, picture, again = (reader.picture(name, "") for name in raw.value["images"])
    assert page == again
    assert read_picture(page).tobytes() == read_picture(picture_at(tmp_path / "a.pdf")).tobytes()
    assert picture == (tmp_path / "b.png").read_bytes()


def test_bad_records_leave_nothing_behind(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"messages": TALK}, {"image": "b.png", "messages": TALK}]))
    with pytest.raises(ValueError, match=r"a\.json, record 2, image: there is no file"):
        write_shards(tmp_path / "a.json", None, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@given(st.lists(st.lists(st.lists(st.binary(max_size=9), max_size=3), max_size=4), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_any_order(tmp_path_factory, chunks):
    folder = tmp_path_factory.mktemp("order")
    items = [[item({"images": [str(n) for n in range(len(each))]}, *each) for each in chunk] for chunk in chunks]
    reader = open_reader(written(folder, *items))
    raws = list(reader.records())
    lists = [each for chunk in chunks for each in chunk]
    assert [len(raw.value["images"]) for raw in raws] == [len(each) for each in lists]
    wanted = [
        (name, picture)
        for raw, each in zip(raws, lists, strict=True)
        for name, picture in zip(raw.value["images"], each, strict=True)
    ]
    random.Random(0).shuffle(wanted)
    assert [reader.picture(name, "") for name, _ in wanted] == [picture for _, picture in wanted]


class Harm:
    """Pickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["pickle", "graph:pickle", "str", "jpeg", None, 3])
def test_other_kinds_of_items_are_refused(tmp_path, kind):
    """Above all pickled ones, which would run code."""
    harmful = pickle.dumps(Harm(tmp_path / "harm"))
    written(tmp_path, [struct.pack("<2I", len(harmful), 0) + harmful], data_format=[kind, "bytes"])
    with pytest.raises(ValueError, match=r"index\.json: items of .*only what `python -m recipes.shard` writes is read"):
        open_reader(tmp_path)
    written(tmp_path, [struct.pack("<2I", len(harmful), 0) + harmful])
    with pytest.raises(ValueError, match=r"chunk-0-0\.bin, record 1: damaged"):
        list(open_reader(tmp_path).records())
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filename": "../a.bin"}, "the name of a file in this folder is expected, not '../a.bin'"),
        ({"filename": "/etc/passwd"}, "the name of a file in this folder is expected"),
        ({"filename": "none"}, "filename: 1 of 1 files are missing, such as 'none'"),
        ({"filename": 3}, "the name of a file in this folder is expected"),
        ({"chunk_size": -1}, "numbers of bytes and records are expected"),
        ({"chunk_size": 2}, r"chunk-0-0\.bin is damaged: its header does not fit"),
        ({"chunk_size": 10**12}, r"chunk-0-0\.bin is damaged: its header does not fit"),
        ({"chunk_bytes": 5}, r"chunk-0-0\.bin has \d+ bytes, not 5"),
        ({"chunk_bytes": "5"}, "numbers of bytes and records are expected"),
    ],
)
def test_indices_that_are_refused(tmp_path, change, message):
    index = json.loads((written(tmp_path, [item({"text": "a"})]) / "index.json").read_text())
    index["chunks"][0] |= change
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        list(open_reader(tmp_path).records())


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"chunks": [], "config": 3}', '{"chunks": [3], "config": {}}', "[" * 9**6]
)
def test_what_is_no_index(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ValueError, match=r"index\.json is no index of shards"):
        open_reader(tmp_path)


def test_compressed_shards_are_refused(tmp_path):
    for key in ("compression", "encryption", "ipc_compression"):
        with pytest.raises(ValueError, match="without either"):
            open_reader(written(tmp_path, [], **{key: "zstd"}))


def test_damaged_shards_are_refused(shards, contents, tmp_path):
    """Whatever is changed, records are read or refused; every cut is noticed."""
    choose, refused = random.Random(0), 0
    chunk = sorted(shards.glob("*.bin"))[0]
    content = chunk.read_bytes()
    for file in shards.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for _ in range(200):
        place = choose.randrange(len(content) // 2)
        changed = content[:place] + choose.choice([b"\xff", b"\0", b"-", b"9"]) + content[place + 1 :]
        (tmp_path / chunk.name).write_bytes(changed)
        try:
            contents(open_reader(tmp_path))
        except (ValueError, KeyError):
            refused += 1
    assert refused > 50
    (tmp_path / chunk.name).write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"bytes, not \d+ as index\.json says: fetch it again"):
        open_reader(tmp_path)


def test_nothing_leaves_the_shards(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    reader = open_reader(written(tmp_path, [item({"text": "a"})]))
    for name in ("secret.png", "../a.png", "shard:0:0:99999", "shard:1:0:1", "data:image/png;base64,QQ=="):
        with pytest.raises(ValueError, match=r"here: '.*' is not (inside of a shard|a picture in the shards)"):
            reader.picture(name, "here")
    for name in ("secret.png", "1", "-1", "shard:0:0:1"):
        with pytest.raises(ValueError, match=r"record 1: damaged"):
            list(open_reader(written(tmp_path, [item({"image": name}, b"1")])).records())
