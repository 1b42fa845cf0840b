"""What is refused (missing fields and files, doubles, other splits, changed bytes), and where rows may be."""

import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packages.recipes.tests.benchmarks.files import embedded, encoded, known

from recipes.benchmarks.pictures import WrittenPicture
from recipes.benchmarks.rows import JsonRows, NoFileError, ParquetRows, Row, TableRows

DOCUMENT = {"questionId": 7, "question": "Q?", "answers": ["a"], "data_split": "val", "image": "documents/a.png"}


RECORD = {"dataset_name": "x", "id": 3, "question": "Q?", "type": "t", "answers": "a"}


def document(**changed):
    kept = {key: value for key, value in (DOCUMENT | changed).items() if value != "left out"}
    return {"val_v1.0.json": {"data": [DOCUMENT | {"questionId": 1}, kept]}, "documents/a.png": 1}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answers": "left out"}, r"val_v1.0.json, data 2: there is no 'answers', only questionId, question"),
        ({"image": "left out"}, r"val_v1.0.json, data 2: there is no 'image'"),
        ({"image": ""}, r"data 2: \{image\} is empty, but the question needs a picture"),
        ({"data_split": "test"}, r"data 2, data_split: is 'test', but this benchmark is of 'val': .* another split"),
        ({"questionId": 1}, r"data 2: its id is '1', which is that of .*val_v1.0.json, data 1, too"),
        ({"questionId": [1]}, r"data 2, questionId: a text is expected, not \[1\]"),
    ],
)
def test_a_record(ask, changed, message):
    with pytest.raises(ValueError, match=message):
        ask("docvqa", document(**changed))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"test_v1.0.json": {}},
            r"none of val_v1.0_withQT.json or val_v1.0.json or .*; it holds test_v1",
        ),
        ({"val_v1.0.json": {"dates": []}}, r"val_v1.0.json: there is no 'data', only dates"),
        ({"val_v1.0.json": {"data": {}}}, r"val_v1.0.json, data: a list is expected"),
        ({"val_v1.0.json": {"data": [3]}}, r"data 1: an object is expected, not 3"),
        ({"val_v1.0.json": {"data": [DOCUMENT]}}, r"data 1: its pictures should be in .*documents, which is missing"),
    ],
)
def test_files(ask, files, message):
    with pytest.raises(ValueError, match=message):
        ask("docvqa", files)


def test_pictures_stay_in_their_folder(ask):
    files = document(image="documents/a.png") | {"OCRBench.json": [RECORD | {"image_path": "../secret.png"}]}
    (item,) = ask("ocrbench", files | {"OCRBench_Images/a.png": 1, "secret.png": 2})
    with pytest.raises(ValueError, match=r"record 1, \{image_path\}: '../secret.png' is outside the image folder"):
        item.pictures[0].find()


ROW = {"question": "Q?", "image": embedded(50)}


@pytest.mark.parametrize(
    "name", ["test-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "test.parquet", "data/test.parquet"]
)
def test_places_of_parquet(folder, name):
    (row,) = ParquetRows("test").rows(folder({name: [ROW | {"answer": None}]}))
    assert (row.fields["question"], row.fields["answer"]) == ("Q?", None)
    assert row.fields["image"].find() == encoded(50)


def test_a_saved_data_set(tmp_path):
    pa = pytest.importorskip("pyarrow")
    split = tmp_path / "test"
    split.mkdir()
    table = pa.Table.from_pylist([ROW, ROW | {"question": "Second?"}])
    with (
        pa.OSFile(str(split / "data-00000-of-00001.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table)
    (split / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    first, second = ParquetRows("test").rows(tmp_path)
    assert [first.fields["question"], second.fields["question"]] == ["Q?", "Second?"]
    assert first.fields["image"].name == second.fields["image"].name


def test_other_splits_are_not_read(folder):
    where = folder({"data/train-00000-of-00001.parquet": [ROW], "data/test_old-00000-of-00001.parquet": [ROW]})
    with pytest.raises(NoFileError, match=r"none of test-\*.parquet or data/test-\*.parquet; it holds data"):
        list(ParquetRows("test").rows(where))


def test_a_picture_that_is_not_base64():
    with pytest.raises(ValueError, match=r"a.tsv, line 2, image: the picture that is written out is not base64"):
        WrittenPicture("x!", "a.tsv, line 2, image").find()


def test_a_table_with_too_many_cells(folder):
    with pytest.raises(ValueError, match=r"a.csv, line 3: there are more or fewer cells than names"):
        list(TableRows(["a.csv"]).rows(folder({"a.csv": [{"a": 1, "b": 2}, {"a": 1}]})))


def test_messages_of_lists_that_share_their_elements():
    laughs = []
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(ValueError, match=r"a.p, record 1, split: a text is expected, not \[\["):
        Row("a.p, record 1", 1, {"split": laughs}).text("split")


REFS = [{"ref_id": 1, "ann_id": 10, "image_id": 3, "split": "val", "sentences": [{"sent": "a man"}]}]
INSTANCES = {
    "images": [{"id": 3, "file_name": "x.jpg", "width": 8, "height": 6}],
    "annotations": [{"id": 10, "image_id": 3, "bbox": [1.0, 2.0, 4.0, 3.0]}],
}


@given(st.sampled_from(["refs(unc).p", "instances.json"]), st.integers(0, 400), st.binary(min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_changed_bytes(tmp_path, name, place, content):
    """Whatever is changed, the error is one of ours."""
    (tmp_path / "train2014").mkdir(exist_ok=True)
    files = {"refs(unc).p": pickle.dumps(REFS), "instances.json": json.dumps(INSTANCES).encode()}
    place %= len(files[name])
    files[name] = files[name][:place] + content + files[name][place + len(content) :]
    for each, written in files.items():
        (tmp_path / each).write_bytes(written)
    said = ""
    try:
        items = list(known("refcoco").records.items(tmp_path))
    except ValueError as error:
        items, said = [], str(error)
    assert not said or (str(tmp_path) in said and len(said.splitlines()) <= 4)
    assert all(item.values["sentence"] for item in items)


def test_json_by_id(folder):
    where = folder({"a.json": {"x": 1, "y": [2]}})
    assert [row.fields for row in JsonRows(["a.json"], ids="id", value="answer").rows(where)] == [
        {"id": "x", "answer": 1},
        {"id": "y", "answer": [2]},
    ]
    with pytest.raises(ValueError, match=r"a.json, 'x': an object is expected, not 1"):
        list(JsonRows(["a.json"], ids="id").rows(where))


def test_different_pictures_have_different_names(folder):
    where = folder({"test.parquet": [{"image": embedded(1)}, {"image": embedded(2)}]})
    first, second = ParquetRows("test").rows(where)
    assert first.fields["image"].name != second.fields["image"].name
