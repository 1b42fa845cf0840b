"""WebDataset tars."""

import io
import json
import pickle
import random
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.reading.open_reader import open_reader

TALK = [{"role": "user", "content": "A?"}, {"role": "assistant", "content": "1"}]


def written(path, members, **options):
    """Writes a tar of (name, content); a dict is written as JSON, and a TarInfo as it is."""
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content, io.BytesIO(b"x" * content.size))
                continue
            data = json.dumps(content).encode() if isinstance(content, dict) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def packed(path, records):
    """The records as WebDataset has them: pictures have the record's key and no name."""
    members = []
    for row in json.loads(records.read_text()):
        key = f"folder/{row['id']}"
        names = [row.pop("image")] if "image" in row else row.pop("images", [])
        pictures = [(f"{key}.{name[2:]}", (records.parent / name).read_bytes()) for name in names]
        if "caption" in row:
            members += [(f"{key}.txt", row["caption"].encode() + b"\n"), *pictures]
        else:
            members += [*pictures, (f"{key}.json", row)]
    return written(path, members)


def values(path, images=None):
    return [raw.value for raw in open_reader(path, images).records()]


@pytest.fixture
def wanted(records, contents):
    found = contents(open_reader(records))
    return [("folder/c" if key == "c" else key, *rest) for key, *rest in found]


def test_the_same_as_from_json(records, contents, wanted, tmp_path):
    reader = open_reader(packed(tmp_path / "a.tar", records))
    assert contents(reader) == wanted
    reader = pickle.loads(pickle.dumps(reader))
    for number, where, _ in reader.records():
        assert reader.location(number) == where
    assert where == f"{tmp_path / 'a.tar'}, record folder/e"


def test_a_folder_of_tars(records, contents, wanted, tmp_path):
    for name in "ab":
        packed(tmp_path / f"{name}.tar", records)
    reader = open_reader(tmp_path)
    assert contents(reader) == wanted * 2
    raws = list(reader.records())
    assert [reader.location(raw.number) for raw in raws] == [raw.where for raw in raws]
    assert len({raw.number for raw in raws}) == 10
    (tmp_path / "c.parquet").touch()
    with pytest.raises(ValueError, match=r"is a folder of 2 \.tar, 1 \.parquet: give one file"):
        open_reader(tmp_path)


name = st.text(st.characters(exclude_characters="./\0", exclude_categories=["Cs"]), min_size=1, max_size=130)


@given(st.dictionaries(name, st.binary(max_size=700), min_size=1, max_size=9), st.sampled_from([0, 1, 2]))
@settings(max_examples=40, deadline=None)
def test_any_names_in_any_order(tmp_path_factory, pictures, kind):
    path = tmp_path_factory.mktemp("names") / "a.tar"
    if kind == tarfile.USTAR_FORMAT:
        pictures = {f"{number}": picture for number, picture in enumerate(pictures.values())}
    written(path, [(f"{key}.jpg", picture) for key, picture in pictures.items()], format=kind)
    reader = open_reader(path)
    raws = list(reader.records())
    assert [raw.value["id"] for raw in raws] == list(pictures)
    assert [reader.location(raw.number) for raw in raws] == [raw.where for raw in raws]
    wanted = list(zip((raw.value["image"] for raw in raws), pictures.values(), strict=True))
    random.Random(0).shuffle(wanted)
    assert [reader.picture(place, "") for place, _ in wanted] == [picture for _, picture in wanted]


@pytest.mark.parametrize("shape", ["image", "images", "parts"])
def test_names_in_records(tmp_path, contents, shape):
    """They are those of members; a name that no member has is that of the only picture left."""

    def record(*names):
        parts = [{"type": "image_url", "image_url": {"url": name}} for name in names]
        said = [{"role": "user", "content": [*parts, {"type": "text", "text": "A?"}]}, TALK[1]]
        return {"messages": said} if shape == "parts" else {shape: list(names), "messages": TALK}

    members = [("a.1.jpg", b"1"), ("a.2.PNG", b"2"), ("a.json", record("any/a.2.PNG", "old.jpg"))]
    ((key, _, pictures),) = contents(open_reader(written(tmp_path / "a.tar", members)))
    assert (key, pictures) == ("a", [b"2", b"1"])
    with pytest.raises(
        ValueError, match=r"record a: it names \['a.1.jpg'\], but its pictures are \['a.1.jpg', 'a.2.png'\]"
    ):
        values(written(tmp_path / "a.tar", [*members[:2], ("a.json", record("a.1.jpg"))]))
    (tmp_path / "beside.jpg").write_bytes(b"3")
    ((_, _, pictures),) = contents(open_reader(written(tmp_path / "a.tar", [("a.json", record("beside.jpg"))])))
    assert pictures == [b"3"]
    with pytest.raises(ValueError, match="a file cannot be called 'tar:0:0:9'"):
        values(written(tmp_path / "a.tar", [("a.json", record("tar:0:0:9"))]))


def test_texts(tmp_path):
    both = [("a.jpg", b""), ("a.txt", b"A cat.\n"), ("a.json", {"caption": "A cat.", "url": "x", "id": 5})]
    (value,) = values(written(tmp_path / "a.tar", both))
    assert (value["id"], value["caption"]) == (5, "A cat.")
    (value,) = values(written(tmp_path / "a.tar", [*both[:2], ("a.json", {"width": 3})]))
    assert (value["id"], value["caption"]) == ("a", "A cat.")
    with pytest.raises(ValueError, match=r"record a: both \.txt and 'messages' in \.json"):
        values(written(tmp_path / "a.tar", [*both[:2], ("a.json", {"messages": TALK})]))


def member(**attributes):
    info = tarfile.TarInfo()
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", member(type=tarfile.SYMTYPE, linkname="/etc/passwd"))], "'a.jpg' is a link"),
        ([("a.jpg", member(type=tarfile.LNKTYPE, linkname="b.jpg"))], "'a.jpg' is a link"),
        ([("a.jpg", member(type=tarfile.FIFOTYPE))], "'a.jpg' is a link, a device"),
        ([("a.jpg", member(type=tarfile.CHRTYPE))], "'a.jpg' is a link, a device"),
        ([("a.jpg", member(pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}))], "'a.jpg' is .* sparse"),
        ([("a.jpg", b"1"), ("b.jpg", b"2"), ("a.json", {})], "record a: its members must follow each other"),
        ([("a.jpg", b"1"), ("a.jpg", b"2")], r"record a: there are two members \.jpg"),
        ([("a.mp4", b"1")], r"record a: \.mp4 is not read"),
        ([("a.json", b"{")], r"record a\.json: not JSON"),
        ([("a.json", b"[" * 100_000)], r"record a\.json: not JSON"),
        ([("a.txt", b"\xff")], r"record a: \.txt is not UTF-8 \(byte 0\)"),
        ([("a.txt", member(size=20_000_001))], r"record a: \.txt has more than 20 MB"),
    ],
)
def test_what_is_refused(tmp_path, members, message):
    with pytest.raises(ValueError, match=rf"a\.tar(: |, ){message}"):
        values(written(tmp_path / "a.tar", members, format=tarfile.PAX_FORMAT))


def test_nothing_leaves_the_tar(tmp_path):
    """Names of members are keys and nothing else; a name of a place must be inside of a tar."""
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "a.tar", [("../secret.jpg", b"own"), ("/etc/passwd.txt", b"mine")])
    reader = open_reader(path)
    first, second = (raw.value for raw in reader.records())
    assert (first["id"], reader.picture(first["image"], "here")) == ("../secret", b"own")
    assert second == {"id": "/etc/passwd", "caption": "mine"}
    for place in ("tar:0:0:99999", "tar:1:0:1", "tar:0:99999:0"):
        with pytest.raises(ValueError, match=r"here: 'tar:.* is not inside of a tar"):
            reader.picture(place, "here")
    with pytest.raises(ValueError, match=r"here: .* is outside"):
        reader.picture("../secret.jpg", "here")


def test_what_is_left_out(tmp_path):
    others = [("d", member(type=tarfile.DIRTYPE)), ("LICENSE", b"x"), ("d/._a.jpg", b"x"), ("d/a.cls", b"7")]
    assert values(written(tmp_path / "a.tar", [*others, ("d/a.txt", b"t")])) == [{"id": "d/a", "caption": "t"}]


def test_damaged_tars_are_refused(records, tmp_path):
    path = packed(tmp_path / "a.tar", records)
    content, found = path.read_bytes(), len(values(path))
    with tarfile.open(path) as tar:
        tar.getmembers()
        end = tar.offset
    for cut in range(0, len(content), 512):
        path.write_bytes(content[:cut])
        if cut > end:
            assert len(values(path)) == found
        else:
            with pytest.raises(ValueError, match=r"a\.tar: damaged, or no tar"):
                values(path)
    headers = [start for start in range(0, len(content), 512) if content[start + 257 : start + 262] == b"ustar"]
    for start in headers:
        for change in (b"\xff" * 12, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, b"\xff" * 11 + b"\0", b"x" * 12):
            path.write_bytes(content[: start + 124] + change + content[start + 136 :])
            with pytest.raises(ValueError, match=r"a\.tar: damaged, or no tar"):
                values(path)
    checked = bytearray(content)
    checked[headers[1] + 124 : headers[1] + 136] = b"\xff" * 10 + b"\xfe\0"
    total = sum(checked[headers[1] : headers[1] + 148]) + 8 * 32 + sum(checked[headers[1] + 156 : headers[1] + 512])
    checked[headers[1] + 148 : headers[1] + 156] = b"%06o\0 " % total
    path.write_bytes(checked)
    with pytest.raises(ValueError, match=r"a\.tar: damaged, or no tar"):
        values(path)
