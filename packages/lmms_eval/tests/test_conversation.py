"""Chat messages become pictures and turns."""

import io

import pytest
from PIL import Image

from foveal.lmms_eval import conversation
from foveal.models import Turn, Video

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 4), "blue")


def part(content):
    return {"type": "text", "text": content} if isinstance(content, str) else {"type": "image", "url": content}


def user(*contents):
    return [{"role": "user", "content": [part(content) for content in contents]}]


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (("Why?",), "Why?"),
        ((RED, "What?"), "<image>\nWhat?"),
        ((RED, BLUE, "What ", "differs?"), "<image>\n<image>\nWhat differs?"),
        (("In ", RED, " or in ", BLUE, "?"), "In <image> or in <image>?"),
        ((RED, "and", BLUE), "<image>\nand<image>"),
        ((RED, BLUE, "Is <image> like <image>?"), "Is <image> like <image>?"),
        ((RED, "Look: <image>"), "Look: <image>"),
        ((RED,), "<image>\n"),
    ],
)
def test_pictures_stay_in_their_places(contents, text):
    sources, turns = conversation(user(*contents))
    assert turns == [Turn("user", text)]
    assert sources == [content for content in contents if not isinstance(content, str)]


def test_several_turns():
    messages = [
        {"role": "system", "content": "Be brief."},
        *user(RED, "Colour?"),
        {"role": "assistant", "content": [part("Red.")]},
        *user(BLUE, "And here?"),
    ]
    sources, turns = conversation(messages)
    assert [(turn.role, turn.text) for turn in turns] == [
        ("system", "Be brief."),
        ("user", "<image>\nColour?"),
        ("assistant", "Red."),
        ("user", "<image>\nAnd here?"),
    ]
    assert sources == [RED, BLUE]


def test_forms_of_a_picture(tmp_path):
    stored = io.BytesIO()
    RED.save(stored, "png")
    given = ["a.png", tmp_path, b"12", {"bytes": stored.getvalue(), "path": "x"}, {"bytes": None, "path": "b.png"}]
    sources, _ = conversation([{"role": "user", "content": [{"type": "image", "url": each} for each in given]}])
    assert sources == ["a.png", tmp_path, b"12", stored.getvalue(), "b.png"]


def test_frames_are_a_video():
    (video,), (turn,) = conversation([{"role": "user", "content": [{"type": "video", "url": [RED, BLUE]}, part("?")]}])
    assert video == Video([RED, BLUE])
    assert turn.text == "<image>\n?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "video", "url": "a.mp4"}, "a video is given as a file"),
        ({"type": "audio", "url": "a.wav"}, "a part of type 'audio'"),
        ({"type": "image", "url": None}, "not NoneType"),
        ({"type": "image", "url": {"bytes": None, "array": [1]}}, "a mapping with bytes, array"),
        ({"type": "text", "text": "<image> and <image>"}, "2 <image> for 1 pictures"),
    ],
)
def test_what_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        conversation([{"role": "user", "content": [part(RED), content]}])
