"""All pictures are decoded once, also if the pass is ended in between."""

import json

import pytest
from PIL import Image

from recipes.data import contents
from recipes.data.contents import read_contents
from recipes.data.index import open_records as opening
from recipes.data.index.open_records import open_records


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Five records in chunks of two; the pixels of one are damaged, and one repeats another under a second name."""
    monkeypatch.setattr(contents, "CHUNK", 2)
    monkeypatch.setattr("recipes.data.parallel.CHUNK", 2)
    for number, name in enumerate("abcd"):
        Image.effect_noise((64, 64), 50 + number).convert("RGB").save(tmp_path / f"{name}.jpg")
    (tmp_path / "again.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    (tmp_path / "c.jpg").write_bytes((tmp_path / "c.jpg").read_bytes()[:-500])
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "again.jpg"]
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"id": name, "image": name, "caption": "A cat."} for name in names]))
    return open_records(path)


def check(found):
    assert found.faults.keys() == {2}
    assert "record 3 (id c.jpg), image: " in found.faults[2]
    assert "c.jpg: damaged" in found.faults[2]
    assert found.roles == {"user": 5, "assistant": 5}
    hashes = dict(found.hashes)
    assert hashes[0] == hashes[4]
    assert len(set(hashes.values())) == 3


def test_what_is_found(records):
    check(read_contents(records))


def test_a_pass_that_was_ended_goes_on(records, monkeypatch):
    read, whole = [], contents.read_picture

    def interrupted(source):
        if len(read) == 3:
            raise KeyboardInterrupt
        read.append(source.name)
        return whole(source)

    monkeypatch.setattr(contents, "read_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_contents(records)
    with (records.folder / "contents.jsonl").open("a") as stream:
        stream.write('{"faults": {}, "ro')  # as a killed process leaves it
    assert read == ["a.jpg", "b.jpg", "c.jpg"]
    read.clear()
    monkeypatch.setattr(contents, "read_picture", lambda source: (read.append(source.name), whole(source))[1])
    check(read_contents(records))
    assert read == ["c.jpg", "d.jpg", "again.jpg"]
    read.clear()
    check(read_contents(records))
    assert read == []
    monkeypatch.setattr(contents, "LOOKED_AT", 0)
    check(read_contents(records))
    assert len(read) == 5


@pytest.mark.parametrize("damage", [b"garbage\n", b"\0" * 50, b'{"faults": 3}\n', b"[]\n"])
def test_a_damaged_journal_is_read_as_far_as_it_is_whole(records, damage):
    read_contents(records)
    journal = records.folder / "contents.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole.split(b"\n")[0] + b"\n" + damage)
    check(read_contents(records))
    assert journal.read_bytes() == whole


def test_nothing_is_kept_of_pictures_that_have_changed(records, tmp_path):
    read_contents(records)
    (tmp_path / "c.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    assert read_contents(open_records(tmp_path / "data.json")).faults == {}


def test_a_picture_that_is_gone(records, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "LOOKED_AT", 0)
    (tmp_path / "b.jpg").unlink()
    assert read_contents(records).faults.keys() == {1, 2}
