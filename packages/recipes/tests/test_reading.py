"""JSON and JSONL as people have them, whatever the suffix says."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.models import BadImageError
from recipes.answering.questions import QuestionFile, Unusable
from recipes.reading.json_file import read_values
from recipes.reading.pictures import MAX_BYTES, PictureFolder, named_pictures

SEPARATORS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg"


def values(path):
    return [value for _, _, value in read_values(path)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("reading") / "any.txt"


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.none() | st.integers()), min_size=1),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_any_file_gives_its_values(file, records, mark, escaped, newline):
    dumped = [json.dumps(record, ensure_ascii=escaped) for record in records]
    for text in (newline.join(dumped) + newline, newline + "[" + ("," + newline).join(dumped) + "]"):
        file.write_bytes((b"\xef\xbb\xbf" if mark else b"") + text.encode())
        assert values(file) == records


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ""])
def test_the_content_tells_what_it_is(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    path.write_text('\n {"id": 1}\n\n{"id": 2}')
    assert list(read_values(path)) == [(2, f"{path}, line 2", {"id": 1}), (4, f"{path}, line 4", {"id": 2})]
    path.write_text('\n [\n{"id": 1},\n{"id": 2}]')
    assert list(read_values(path))[1] == (2, f"{path}, record 2", {"id": 2})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Straße".encode("latin-1"), r"data\.json is not UTF-8 \(byte 4\): save it as UTF-8"),
        ('{"id": 1}'.encode("utf-16"), r"data\.json is not UTF-8 \(byte 0\)"),
        (b"[" * 100_000, r"data\.json: nested too deeply"),
        (b'{"id": 1}\n{"id": ' + b"9" * 5000 + b"}", "line 2: not JSON"),
        (b'{"id": 1}\n{"id": 2', "line 2: not JSON"),
        (b'{"id": 1}{"id": 2}', "line 1: not JSON"),
        (b"id,image\n1,a.png", "line 1: not JSON"),
    ],
)
def test_what_is_refused(tmp_path, content, message):
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        values(path)


def questions(path):
    return QuestionFile(path, None, Unusable()).read()


def test_questions_hold_all_separators(tmp_path):
    path = tmp_path / "questions.jsonl"
    asked = [{"question": SEPARATORS, "image": None}, {"question": "b", "image": ""}]
    lines = [json.dumps(each, ensure_ascii=False) for each in asked]
    path.write_bytes(f"\ufeff{lines[0]}\n\n{lines[1]}\n".encode())
    assert [(each.key, each.text, each.pictures) for each in questions(path)] == [
        ("1", SEPARATORS, ()),
        ("3", "b", ()),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "has no questions"),
        ('{"text": "a"}', 'line 1: expected an object with a text "question"'),
        ('{"question": "a", "image": "../a.png"}', r"line 1, image: '\.\./a\.png' is outside"),
        ('{"question": "a", "image": "a.png"}', r"line 1, image: there is no file .*a\.png"),
        ('{"question": "a", "imgs": ["a.png"]}', "line 1: the key 'imgs' is not read; did you mean 'images'"),
    ],
)
def test_questions_that_are_refused(tmp_path, content, message):
    (tmp_path / "questions.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        questions(tmp_path / "questions.jsonl")


def test_a_question_about_a_damaged_picture_is_named_before_any_is_answered(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("<html>404</html>")
    path = tmp_path / "questions.jsonl"
    path.write_text('{"id": null, "image": "a.png", "question": "a"}\n{"image": "b.png", "question": "b"}\n')
    with pytest.raises(BadImageError, match=r"questions\.jsonl, line 2, image: .*b\.png: not a picture"):
        questions(path)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert [each.key for each in questions(path)] == ["1", "2"]


def test_names_of_pictures(tmp_path):
    assert named_pictures({"image": None}, "here") == named_pictures({"image": ""}, "here") == []
    assert named_pictures({"image": "a"}, "here") == named_pictures({"images": ["a"]}, "here") == ["a"]
    for wrong in (3, ["a", None], {"path": "a"}):
        with pytest.raises(ValueError, match="here, image: a name or a list of names is expected"):
            named_pictures({"image": wrong}, "here")
    for wrong in ("a\0b", "a" * 5000):
        with pytest.raises(ValueError, match=r"here: 'a.* is no name of a file"):
            PictureFolder(tmp_path).find(wrong, "here")


@pytest.mark.parametrize("fewer", [0, 1, 2])
def test_the_largest_picture_that_is_written_out(tmp_path, fewer):
    """Its size is that of its bytes, not of their base64, whose padding differs."""

    def found(size):
        return PictureFolder(tmp_path).find(f"data:image/png;base64,{base64.b64encode(bytes(size)).decode()}", "here")

    assert len(found(MAX_BYTES - fewer)) == MAX_BYTES - fewer
    with pytest.raises(ValueError, match="here: a picture of more than 20 MB is written out"):
        found(MAX_BYTES + 1 + fewer)
