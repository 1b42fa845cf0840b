"""What is read and what is not, and what is said about it."""

import gzip
import tarfile
import zipfile

import pyarrow as pa
import pytest

from recipes.reading.json_file import JsonReader
from recipes.reading.open_reader import open_reader


def test_files_that_are_not_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "a.jsonl")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(b"{}"))
    (tmp_path / "a.csv").write_text("image,text\na.png,A")
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema({"text": pa.string()})):
        pass
    for name, message in {
        "a.tar.gz": "is compressed with gzip: unpack it, nothing in it can be read without everything before",
        "b.jsonl": "is compressed with gzip",
        "a.zip": "is a zip archive: unpack it",
        "a.csv": "is a table: write its rows as JSON objects",
        "a.arrow": "is an Arrow file: write it as Parquet",
    }.items():
        with pytest.raises(ValueError, match=rf"{name} {message}.* JSON, JSONL, Parquet and WebDataset"):
            open_reader(tmp_path / name)
    assert isinstance(open_reader(tmp_path / "a.jsonl"), JsonReader)


@pytest.mark.parametrize("address", ["s3://bucket/shards", "gs://bucket/a.parquet", "https://example.org/a.json"])
def test_addresses_are_not_fetched(address):
    with pytest.raises(ValueError, match=f"{address} is not fetched: copy the folder or mount it"):
        open_reader(address)


def test_folders_that_are_not_read(tmp_path):
    with pytest.raises(ValueError, match="is a folder of nothing: give one file or folder in it"):
        open_reader(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a.jpg", "b.JPG", "train.json", ".hidden.tar"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"is a folder of 2 \.jpg, .*1 folders.*: give one file or folder in it"):
        open_reader(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_reader(tmp_path / "none")


def test_shards_hold_their_pictures(tmp_path):
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(ValueError, match="holds shards, with their pictures: leave the folder"):
        open_reader(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a-00000-of-00002.tar"], "lacks parts of a-of-00002: number 1, 1 in all; fetch them"),
        (["a-0-of-3.tar", "a-2-of-3.tar"], "lacks parts of a-of-3: number 1, 1 in all; fetch them"),
        (["a-0-of-1.tar", "a-0-of-2.tar", "a-1-of-2.tar"], "holds several data sets: a-of-1, a-of-2;"),
        (
            ["a-0-of-1.tar", "b-0-of-1.tar"],
            "holds several data sets: a-of-1, b-of-1; put each into a folder of its own",
        ),
    ],
)
def test_parts_of_data_sets(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=message):
        open_reader(tmp_path)
