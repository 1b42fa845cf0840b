"""The same conversation in all shapes that people keep it in."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.models import Turn, read_image
from recipes.data.index.open_records import open_records
from recipes.data.shapes import KEYS, read_shape
from recipes.reading.keys import NOT_READ, OTHER_NAMES

READ = [Turn("user", "<image>\nRead."), Turn("assistant", "12.50")]


def llava(text, answer="12.50"):
    return [{"from": "human", "value": text}, {"from": "gpt", "value": answer}]


def chat(content, answer="12.50"):
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


URL, TEXT = {"type": "image_url", "image_url": {"url": "0.png"}}, {"type": "text", "text": "Read."}


@pytest.mark.parametrize(
    "record",
    [
        {"image": "0.png", "conversations": llava("<image>\nRead.")},
        {"image": "0.png", "conversations": llava("Read.")},
        {"images": ["0.png"], "conversations": llava("Read.")},
        {"images": ["0.png"], "image": None, "messages": chat("<image>\nRead.")},
        {"images": ["0.png"], "messages": chat("Read.")},
        {"images": "0.png", "conversations": chat("Read.")},
        {"images": ["0.png"], "image": "0.png", "conversations": chat("Read.")},
        {"messages": chat([URL, TEXT], [{"type": "text", "text": "12.50"}])},
        {"messages": chat([{"type": "image_url", "image_url": "0.png"}, TEXT])},
        {"messages": chat([{"type": "image", "image": "0.png"}, TEXT])},
        {"image": "0.png", "messages": chat([{"type": "image"}, TEXT])},
        {"images": ["0.png"], "messages": chat([TEXT])},
    ],
)
def test_one_picture_and_a_question(record):
    assert read_shape(record, "here") == (["0.png"], READ)


@pytest.mark.parametrize("key", ["caption", "text"])
def test_captions(key):
    turns = [Turn("user", "<image>"), Turn("assistant", "A cat.")]
    assert read_shape({"image": "0.png", key: "A cat."}, "here") == (["0.png"], turns)
    turns[0] = Turn("user", "<image>\n<image>")
    assert read_shape({"images": ["0.png", "1.png"], key: "A cat."}, "here") == (["0.png", "1.png"], turns)
    beside = {"image": "0.png", key: "A cat.", "conversations": llava("Read.")}
    assert read_shape(beside, "here") == (["0.png"], READ)


@pytest.mark.parametrize("nothing", [{}, {"image": None}, {"image": ""}, {"images": []}, {"images": None, "image": ""}])
def test_no_picture(nothing):
    names, turns = read_shape({**nothing, "conversations": llava("Hi", "Hello")}, "here")
    assert (names, turns) == ([], [Turn("user", "Hi"), Turn("assistant", "Hello")])


def test_pictures_without_a_place_come_before_the_first_user_text():
    spoken = [{"role": "system", "content": "Be brief."}, *chat("Same?", "No."), *chat("Sure?", "Yes.")]
    names, turns = read_shape({"images": ["0.png", "1.png"], "messages": spoken}, "here")
    assert names == ["0.png", "1.png"]
    assert [turn.text for turn in turns] == ["Be brief.", "<image>\n<image>\nSame?", "No.", "Sure?", "Yes."]


def test_parts_keep_their_order():
    content = [{"type": "text", "text": "Left:"}, URL, {"type": "text", "text": "right:"}, URL | {"image_url": "1.png"}]
    names, turns = read_shape({"messages": chat(content)}, "here")
    assert names == ["0.png", "1.png"]
    assert turns[0].text == "Left:\n<image>\nright:\n<image>"


def test_a_system_text_beside_the_turns():
    _, turns = read_shape({"system": "Be brief.", "conversations": llava("Hi", "Hello")}, "here")
    assert turns == [Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"image": "0.png", "messages": chat([URL, TEXT])}, "pictures both in the parts of messages and beside it"),
        ({"image": "0.png", "messages": chat("<image><image>")}, "2 <image> in the text, 1 pictures"),
        ({"images": ["0.png", "1.png"], "messages": chat("<image>")}, "1 <image> in the text, 2 pictures"),
        ({"messages": chat([URL, {"type": "text", "text": "<image>"}])}, "2 <image> in the text, 1 pictures"),
        ({"messages": chat([{"type": "image"}, TEXT])}, "1 <image> in the text, 0 pictures"),
        ({"images": ["0.png", ""], "messages": chat("Read.")}, "images: name 2 of 2 is empty"),
        ({"images": [{"path": "0.png"}], "messages": chat("Read.")}, "images: a name or a list of names is expected"),
        (
            {"messages": chat([{"type": "video", "video": "a.mp4"}])},
            "turn 1, part 1: expected .* not 'video'",
        ),
        ({"messages": chat([{"type": "image_url", "image_url": {}}])}, "part 1: expected type 'text'"),
        ({"messages": chat(["Read."])}, "part 1: expected type 'text'"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "unknown role"),
        ({"messages": [{"role": "function", "content": "a"}]}, "unknown role 'function' in 'role'"),
    ],
)
def test_what_is_refused(record, message):
    with pytest.raises(ValueError, match=f"^here.*{message}"):
        read_shape(record, "here")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        *(("imgs", "images"), ("Image", "image"), ("imaeg", "image"), ("conversation", "conversations")),
        *(("message", "messages"), ("Messages", "messages"), ("captions", "caption"), ("sistem", "system")),
        *((name, known[0]) for known, names in OTHER_NAMES.items() for name in names),
    ],
)
def test_keys_that_look_meant(key, nearest):
    record = {"conversations": llava("Read."), key: ["0.png"]}
    if nearest == "conversations":
        record = {"image": "0.png", "caption": "A cat.", key: ["Hi"]}
    with pytest.raises(ValueError, match=f"here: the key '{key}' is not read; did you mean '{nearest}'"):
        read_shape(record, "here")


@pytest.mark.parametrize("key", NOT_READ)
def test_films_and_sounds(key):
    with pytest.raises(ValueError, match=f"here: '{key}' is not read, only pictures are"):
        read_shape({"conversations": llava("What?"), key: ["a.mp4"]}, "here")


@pytest.mark.parametrize(
    "key",
    [
        *(
            "source",
            "image_id",
            "image_size",
            "width",
            "height",
            "dataset",
            "url",
            "license",
            "ext",
            "category",
            "meta",
        ),
        *("context", "model", "task", "score", "ids", "tools", "image_width", "question_id", "language"),
    ],
)
def test_remarks(key):
    assert read_shape({"image": "0.png", "conversations": llava("Read."), key: "x"}, "here") == (["0.png"], READ)


def test_another_name_beside_the_known_one_and_an_empty_column_are_remarks():
    record = {
        "image": "0.png",
        "conversations": llava("Read."),
        "image_path": "/there/0.png",
        "imgs": None,
        "videos": [],
    }
    assert read_shape(record, "here") == (["0.png"], READ)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["user", "gpt", "text", "image", "<image>"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["from", "value", "role", "content", "type", "text", "image"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*KEYS, "imgs"]) | st.text(), JSON))
def test_anything_is_read_or_refused_with_its_place(record):
    refusal = ""
    try:
        names, turns = read_shape(record, "here")
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("here")
    else:
        assert sum(turn.text.count("<image>") for turn in turns) == len(names)


def test_a_picture_that_is_written_out(tmp_path):
    Image.new("RGB", (8, 6), "red").save(tmp_path / "0.png")
    encoded = base64.b64encode((tmp_path / "0.png").read_bytes()).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    (tmp_path / "data.jsonl").write_text(json.dumps({"messages": chat([part, TEXT])}))
    (record,) = open_records(tmp_path / "data.jsonl")
    assert record.images == ((tmp_path / "0.png").read_bytes(),)
    assert list(record.turns) == READ
    assert read_image(record.images[0]).size == (8, 6)
