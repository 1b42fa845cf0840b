"""Folders that `save_to_disk` of Hugging Face's `datasets` has written."""

import json
import pickle
import random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.reading.open_reader import open_reader

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def saved(folder, tables, **state):
    """Writes tables as `datasets` 4 does; one file for each."""
    folder.mkdir(exist_ok=True)
    names = [f"data-{number:05}-of-{len(tables):05}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    plain = {"_fingerprint": "a", "_format_columns": None, "_format_type": None, "_output_all_columns": False}
    files = {"_split": "train", "_data_files": [{"filename": name} for name in names]}
    (folder / "state.json").write_text(json.dumps(plain | files | state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def tables(records, parts=1):
    """The records with embedded pictures, in tables of the same schema."""
    rows = json.loads(records.read_text())
    for row in rows:
        names = [row.pop("image")] if "image" in row else row.pop("images", [])
        row["images"] = [{"bytes": (records.parent / name).read_bytes(), "path": name} for name in names]
    keys = dict.fromkeys(key for row in rows for key in row)
    whole = pa.table({key: [row.get(key) for row in rows] for key in keys})
    size = -(-len(rows) // parts)
    return [whole.slice(start, size) for start in range(0, len(rows), size)]


@pytest.mark.parametrize("parts", [1, 3])
def test_the_same_as_from_json(records, contents, tmp_path, parts):
    reader = open_reader(saved(tmp_path / "train", tables(records, parts)))
    assert contents(reader) == contents(open_reader(records))
    assert contents(pickle.loads(pickle.dumps(reader))) == contents(reader)
    assert [file.suffix for file in reader.files()] == [".json"] + [".arrow"] * parts
    row = 5 if parts == 1 else 1
    assert reader.location(5) == f"{reader.files()[-1]}, row {row}"


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=12))
@settings(max_examples=20, deadline=None)
def test_any_order(tmp_path_factory, pictures):
    table = pa.table({"image": pa.array([{"bytes": each, "path": None} for each in pictures], IMAGE)})
    reader = open_reader(saved(tmp_path_factory.mktemp("order"), [table, table]))
    wanted = list(zip([raw.value["image"] for raw in reader.records()], pictures * 2, strict=True))
    random.Random(0).shuffle(wanted)
    assert [reader.picture(name, "") for name, _ in wanted] == [each for _, each in wanted]


def test_the_columns_that_are_shown(tmp_path):
    table = pa.table({"text": ["a"], "id": ["7"]})
    assert [raw.value for raw in open_reader(saved(tmp_path, [table], _format_columns=["text"])).records()] == [
        {"text": "a"}
    ]
    folder = saved(tmp_path, [table], _format_columns=["text"], _output_all_columns=True)
    assert [raw.value for raw in open_reader(folder).records()] == [{"text": "a", "id": "7"}]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_indices_files": [{"filename": "indices.arrow"}]}, "_indices_files: the rows are a selection by index"),
        ({"_data_files": [{"filename": "../a.arrow"}]}, "the name of a file in this folder is expected, not '../a"),
        ({"_data_files": [{"filename": "/etc/passwd"}]}, "the name of a file in this folder is expected"),
        ({"_data_files": [{"filename": "a" * 300}]}, "the name of a file in this folder is expected"),
        ({"_data_files": [{"filename": "a\0b"}]}, "the name of a file in this folder is expected"),
        ({"_data_files": [{"filename": "none"}]}, "1 of 1 files are missing, such as 'none'"),
        ({"_data_files": []}, "it names no file"),
        ({"_format_columns": 3}, "a list of columns is expected, not 3"),
        ({"_data_files": ["a"]}, "_data_files is not understood"),
        ({"_data_files": None}, "_data_files is not understood"),
    ],
)
def test_states_that_are_refused(tmp_path, state, message):
    with pytest.raises(ValueError, match=rf"state\.json.*{message}"):
        open_reader(saved(tmp_path, [pa.table({"text": ["a"]})], **state))


def test_folders_that_are_refused(records, tmp_path):
    saved(tmp_path / "train", tables(records))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(ValueError, match=f"holds several splits: give one of them, such as {tmp_path / 'train'}"):
        open_reader(tmp_path)
    (tmp_path / "train" / "state.json").write_text("[")
    with pytest.raises(ValueError, match=r"state\.json is not written by save_to_disk"):
        open_reader(tmp_path / "train")
    saved(tmp_path / "train", [pa.table({"imgs": [b"a"]})])
    with pytest.raises(ValueError, match=r"arrow: columns: the key 'imgs' is not read; did you mean 'images'"):
        open_reader(tmp_path / "train")


def test_damaged_files_are_refused(records, tmp_path):
    """Whatever is changed, rows are the right ones or refused; a cut file is not a shorter one."""
    (file,) = saved(tmp_path, tables(records)).glob("*.arrow")
    content, choose = file.read_bytes(), random.Random(0)
    for cut in (content[:-8], content[:-100], b""):
        file.write_bytes(cut)
        with pytest.raises(ValueError, match=r"arrow: cut, or not written by"):
            open_reader(tmp_path)
    refused = 0
    for _ in range(100):
        place = choose.randrange(len(content) - 16)
        file.write_bytes(content[:place] + choose.randbytes(4) + content[place + 4 :])
        try:
            reader = open_reader(tmp_path)
            for raw in reader.records():
                for name in raw.value.get("images", []):
                    assert isinstance(reader.picture(name, "here"), bytes)
        except ValueError as error:
            refused += 1
            assert ".arrow" in str(error) or "here" in str(error)  # noqa: PT017
    assert refused > 10
