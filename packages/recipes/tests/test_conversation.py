"""What a conversation passes to the model, keeps and saves."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from foveal.models import Turn
from recipes.answering.conversation import Conversation, Picture
from recipes.data.index.open_records import open_records


def picture(folder, name):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return Picture(path, Image.open(path))


@pytest.fixture
def folder(tmp_path):
    return tmp_path.resolve()


@pytest.fixture
def talk(folder):
    """Two pictures and an answer, then a third picture and another."""
    conversation = Conversation("vicuna_v1")
    conversation.waiting += [picture(folder, "a.png"), picture(folder, "b.png")]
    conversation.keep("Which?", " Both.\n")
    conversation.waiting.append(picture(folder, "more/c.png"))
    conversation.keep("This <image> too?", "Yes.")
    return conversation


def test_the_prompt_has_all_turns_and_pictures_in_their_order(talk, folder):
    talk.waiting.append(picture(folder, "d.png"))
    images, turns = talk.prompt("And?")
    assert [Path(image.filename).name for image in images] == ["a.png", "b.png", "c.png", "d.png"]
    assert turns == [
        Turn("user", "<image>\n<image>\nWhich?"),
        Turn("assistant", "Both."),
        Turn("user", "This <image> too?"),
        Turn("assistant", "Yes."),
        Turn("user", "<image>\nAnd?"),
    ]


def test_asking_alone_changes_nothing(talk, folder):
    talk.waiting.append(picture(folder, "d.png"))
    assert talk.prompt("And?")[1] == talk.prompt("And?")[1]
    assert len(talk.exchanges) == 2
    assert len(talk.waiting) == 1


def test_reset_forgets_turns_waiting_pictures_and_the_file(talk, folder):
    talk.waiting.append(picture(folder, "d.png"))
    talk.file = folder / "talk.json"
    talk.reset()
    assert talk.prompt("Hello?") == ([], [Turn("user", "Hello?")])
    assert talk.file is None


@pytest.mark.parametrize("template", ["plain", "vary_tiny"])
def test_under_a_template_without_turns_each_question_stands_alone(folder, template):
    conversation = Conversation(template)
    with pytest.raises(ValueError, match=f"{template} shows the model pictures only"):
        conversation.prompt("Hello?")
    for name in ("a.png", "b.png"):
        conversation.waiting.append(picture(folder, name))
        images, turns = conversation.prompt("Read.")
        assert [Path(image.filename).name for image in images] == [name]
        assert turns == [Turn("user", "<image>\nRead.")]
        conversation.keep("Read.", "words")
    records = conversation.records("talk", folder)
    assert [(record["id"], record["image"]) for record in records] == [("talk-1", "a.png"), ("talk-2", "b.png")]


@pytest.mark.parametrize(("answer", "fault"), [(" \n", "is empty"), ("See <image>", "contains <image>")])
def test_an_answer_that_ends_every_conversation_is_not_kept(talk, folder, answer, fault):
    talk.waiting.append(picture(folder, "d.png"))
    with pytest.raises(ValueError, match=fault):
        talk.keep("And?", answer)
    assert len(talk.exchanges) == 2
    assert len(talk.waiting) == 1


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("Is <image> like <image>?", "<image> 2 times, but 1 new pictures"),
        (b"caf\xe9".decode(errors="surrogateescape"), "not UTF-8"),
    ],
)
def test_questions_that_cannot_be_asked(talk, folder, question, message):
    talk.waiting.append(picture(folder, "d.png"))
    with pytest.raises(ValueError, match=message):
        talk.prompt(question)


def saved(conversation, path):
    path.write_text(json.dumps(conversation.records(path.stem, path.parent)))
    return path


def test_records_can_be_trained_on(talk, folder):
    (record,) = open_records(saved(talk, folder / "talk.json"))
    assert record.key == "talk"
    assert record.images == tuple(folder / name for name in ("a.png", "b.png", "more/c.png"))
    assert list(record.turns) == talk.prompt("?")[1][:-1]


@pytest.mark.skipif(sys.platform == "win32", reason="a drive is no common root")
def test_pictures_elsewhere_are_named_by_their_whole_path(talk, folder):
    assert talk.lies_in(folder)
    assert not talk.lies_in(folder / "more")
    path = saved(talk, folder / "more" / "talk.json")
    assert json.loads(path.read_text())[0]["image"] == [f"{folder}/{name}" for name in ("a.png", "b.png", "more/c.png")]
    (record,) = open_records(path, path.anchor)
    assert record.images == tuple(folder / name for name in ("a.png", "b.png", "more/c.png"))


def test_one_picture_is_a_name_and_none_is_left_out(folder):
    conversation = Conversation("vicuna_v1")
    with pytest.raises(ValueError, match="no answer to save"):
        conversation.records("talk", folder)
    conversation.keep("Hi", "Hello")
    assert "image" not in conversation.records("talk", folder)[0]
    conversation.waiting.append(picture(folder, "a.png"))
    conversation.keep("And?", "A page")
    assert conversation.records("talk", folder)[0]["image"] == "a.png"
