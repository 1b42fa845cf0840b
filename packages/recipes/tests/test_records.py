"""Conversations from files, good and bad."""

import json
import logging

import pytest
from PIL import Image

from foveal.core import Size
from foveal.models import Turn
from recipes.data.index.open_records import open_records

TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    return tmp_path


def written(folder, records, name="train.json"):
    path = folder / name
    lines = "\n".join(json.dumps(record) for record in records)
    path.write_text(lines if name.endswith("l") else json.dumps(records))
    return path


@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_pictures_and_text_alone(folder, name):
    text_only = {"id": 7, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello you"}]}
    path = written(folder, [{"id": "a", "image": "images/a.png", "conversations": TALK}, text_only], name)
    first, second = records = open_records(path)
    assert (first.key, first.images) == ("a", (folder / "images" / "a.png",))
    assert first.turns == (Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat."))
    assert (second.key, second.images) == ("7", ())
    assert records.modality_lengths.tolist() == [3, -3]
    assert records.answers.tolist() == [1, 1]
    assert records.sizes(0) == (Size(8, 8),)
    assert records[-1] == second
    assert records[:1] == [first]


def test_an_image_folder_of_its_own(folder):
    path = written(folder, [{"id": "a", "image": "a.png", "conversations": TALK}])
    (record,) = open_records(path, folder / "images")
    assert record.images == (folder / "images" / "a.png",)


def test_a_leading_answer_is_left_out_and_logged(folder, caplog):
    talk = [{"from": "gpt", "value": "Welcome"}, *TALK]
    path = written(folder, [{"id": "a", "image": "images/a.png", "conversations": talk}])
    with caplog.at_level(logging.WARNING):
        (record,) = open_records(path)
    assert len(record.turns) == 2
    assert "(id a): left out the first turn, the assistant's" in caplog.text


def changed(**changes):
    return {"id": "a", "image": "images/a.png", "conversations": TALK} | changes


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (
            changed(conversations=[{"from": "tool", "value": "x"}]),
            r"record 1 \(id a\), conversations, turn 1: unknown role 'tool' in 'from', expected one of system, user",
        ),
        (changed(conversations=[TALK[0], TALK[0]]), r"\(id a\), conversations: turn 2 is the user's"),
        (changed(conversations=[*TALK, TALK[1]]), "turn 3 is the assistant's"),
        (changed(conversations=TALK[:1]), "must end with a turn of the assistant"),
        (changed(conversations=[TALK[0], {"from": "gpt", "value": ""}]), "turn 2: the assistant's answer is empty"),
        (
            changed(conversations=[{"from": "human", "value": 5}]),
            "turn 1, value: must be a text or a list of parts",
        ),
        (changed(image=["images/a.png", "images/a.png"]), "1 <image> in the text, 2 pictures"),
        ({"id": "a", "conversations": TALK}, "1 <image> in the text, 0 pictures"),
        (changed(image="images/b.png"), r"image: there is no file .*b\.png"),
        (changed(image="../secret.png"), r"'\.\./secret\.png' is outside the image folder"),
        (changed(image="/etc/passwd"), "is outside the image folder"),
        (changed(image=3), "a name or a list of names is expected, not 3"),
        (changed(conversations=["Hi"]), "turn 1: must be an object with 'from' and 'value', or 'role' and 'content'"),
        (changed(conversations="Hi"), "conversations: must be a list of turns, not str"),
        (changed(messages=TALK), "both 'conversations' and 'messages'"),
        (changed(images=["a.png"]), "pictures under both 'image' and 'images'"),
        (changed(system=3), "system: must be a text, not int"),
        ({"id": "a"}, "record 1 .*: expected 'conversations' or 'messages', or 'image' with a 'caption' or 'text'"),
        ({"id": "a", "text": "Hi"}, "expected 'conversations' or"),
        ({"image": "images/a.png", "caption": 3}, "caption: must be a text, not int"),
        ({"image": "images/a.png", "caption": " "}, "record 1, caption: turn 2: the assistant's answer is empty"),
        ({"image": "images/a.png", "caption": "a", "text": "b"}, "both 'caption' and 'text'"),
        ("text", "must be an object, not str"),
        (
            changed(conversations=[TALK[0], {"from": "gpt", "value": "a\0"}]),
            "turn 2: the text has a NUL at",
        ),
        (changed(conversations=[TALK[0], {"from": "gpt", "value": "\ud83d"}]), "turn 2: the text has half a character"),
        (changed(image="https://example.org/a.png"), "'https://example.org/a.png' is not fetched: download it"),
        (changed(image="data:image/png,AAAA"), "'data:image/png,AAAA' is not understood"),
        (changed(image="data:image/png;base64,A*AA"), "written out is not base64"),
        (changed(image="data:image/png;base64," + "A" * 27_000_000), "more than 20 MB is written out"),
    ],
)
def test_records_that_are_refused(folder, record, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_records(written(folder, [record]))
    assert "train.json" in str(caught.value)


def test_a_link_that_leaves_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "b.png"
    Image.new("RGB", (8, 8)).save(outside)
    (folder / "images" / "b.png").symlink_to(outside)
    with pytest.raises(ValueError, match="is outside the image folder"):
        open_records(written(folder, [changed(image="images/b.png")]))


def test_files_that_are_refused(folder):
    (folder / "broken.json").write_text("[{]")
    with pytest.raises(ValueError, match=r"broken\.json: not JSON"):
        open_records(folder / "broken.json")
    (folder / "broken.jsonl").write_text('{"id": 1}\n{')
    with pytest.raises(ValueError, match=r"broken\.jsonl, line 2: not JSON"):
        open_records(folder / "broken.jsonl")
    (folder / "object.json").write_text('{\n"id": 1\n}')
    with pytest.raises(ValueError, match="a list of records is expected, not one object"):
        open_records(folder / "object.json")
    with pytest.raises(ValueError, match="has no records"):
        open_records(written(folder, []))
    with pytest.raises(ValueError, match="there is no image folder"):
        open_records(written(folder, []), folder / "pictures")


def test_questions_about_receipts(receipts):
    train, val = open_records(receipts / "train.json"), open_records(receipts / "val.json")
    assert (len(train), sum(bool(record.images) for record in train)) == (9, 8)
    assert (len(val), sum(bool(record.images) for record in val)) == (5, 4)
