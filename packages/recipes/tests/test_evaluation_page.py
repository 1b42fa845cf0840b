"""The page of an evaluation: what it holds, texts that try to get out, pictures that are shared or damaged."""

import string
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages.recipes.tests.page_reading import PageReader
from PIL import Image

from foveal.core import Box
from foveal.models import BadImageError
from recipes.reports.evaluation_page import Shown, write_page

ITEM = Shown("1", "What?", ("It",), "That", 0.25, ())


def page(path, items, title="t", facts=None, scores=None):
    write_page(items, path, title=title, facts=facts or {}, scores=scores or {})
    return PageReader(path)


def drawn(colour, size=(40, 30)):
    """A function that makes a picture, and counts in `drawn.calls` how often it was called."""

    def opener():
        opener.calls += 1
        return Image.new("RGB", size, colour)

    opener.calls = 0
    return opener


def test_what_is_in_the_page(tmp_path):
    items = [replace(ITEM, pictures=(drawn("red"),), group="where"), replace(ITEM, key="2", score=None)]
    read = page(tmp_path / "new" / "a.html", iter(items), "Receipts", {"model": "runs/uhd"}, {"ANLS": 0.5, "MME": 1200})
    first, second = read.items
    assert first == {
        "key": "1",
        "question": "What?",
        "references": ["It"],
        "answer": "That",
        "score": 0.25,
        "group": "where",
        "pictures": [{"picture": 0}],
    }
    assert (second["score"], second["pictures"]) == (None, [])
    (picture,) = read.pictures
    assert (picture.format, picture.size) == ("WEBP", (40, 30))
    assert {"Receipts", "model", "runs/uhd", "ANLS", "0.5000", "MME", "1,200.00"} <= set(read.words)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "a.html"]


def test_only_its_own_style_and_script_run_and_nothing_is_fetched(tmp_path):
    read = page(tmp_path / "a.html", [replace(ITEM, pictures=(drawn("red"),))])
    assert read.policy.startswith("default-src 'none'; img-src data:; ")
    assert read.allows("style")
    assert read.allows("script")
    assert "http" not in "".join(read.blocks.values())
    addresses = [given[name] for _, given in read.starts for name in ("src", "href", "action") if name in given]
    assert addresses == ["data:,"]
    assert not [name for _, given in read.starts for name in given if name.startswith("on") or name == "style"]


TEXTS = st.text(st.characters() | st.sampled_from("<>&\"'/!-\0\x07\x85\ud800\udfff\u202e\u2028\ufeff]"), max_size=30)
HOSTILE = TEXTS | st.sampled_from(["</script><script>alert(1)</script>", "<!--<script>", "]]>", "</dd></main>", "&lt;"])


@settings(max_examples=60, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_gets_out_of_its_place(key, answer, title, fact):
    plain = page_of(ITEM, "t", "f")
    read = page_of(replace(ITEM, key=key, question=answer, answer=answer, references=(answer, key)), title, fact)
    (item,) = read.items
    assert (item["key"], item["answer"], item["references"]) == (key, answer, [answer, key])
    assert [tag for tag, _ in read.starts] == [tag for tag, _ in plain.starts]
    assert b"\0" not in read.source


def page_of(item, title, fact):
    with TemporaryDirectory() as folder:
        return page(Path(folder) / "a.html", [item], title, {fact: fact}, {fact: 1})


def test_what_cannot_be_seen_in_a_title_is_written_out(tmp_path):
    read = page(tmp_path / "a.html", [ITEM], "a\0b\ud800c\nd <e>")
    assert read.words.count("a\\u0000b\\ud800c\nd <e>") == 2


def test_a_text_of_100_000_characters_is_whole(tmp_path):
    long = string.ascii_letters * 2000
    assert page(tmp_path / "a.html", [replace(ITEM, answer=long)]).items[0]["answer"] == long


def test_a_shared_picture_is_stored_once(tmp_path):
    red, blue, red_too = drawn("red"), drawn("blue"), drawn("red")
    items = [replace(ITEM, pictures=pictures) for pictures in ((red,), (red, blue), (red_too,), (blue,))]
    read = page(tmp_path / "a.html", items)
    shown = [[each["picture"] for each in item["pictures"]] for item in read.items]
    assert shown == [[0], [0, 1], [0], [1]]
    assert len(read.pictures) == 2
    assert (red.calls, blue.calls) == (1, 1)


def test_pictures_of_the_same_bytes_and_another_shape_are_two(tmp_path):
    items = [replace(ITEM, pictures=(drawn("red", (40, 30)), drawn("red", (30, 40))))]
    assert [each.size for each in page(tmp_path / "a.html", items).pictures] == [(40, 30), (30, 40)]


def test_a_damaged_picture_is_a_sentence(tmp_path):
    def damaged():
        raise BadImageError("p/1.jpg: truncated <b>")

    shown = replace(ITEM, pictures=(damaged, drawn("red")), boxes=(Box(0, 0, 9, 9),))
    (item,) = page(tmp_path / "a.html", [shown]).items
    assert item["pictures"] == [{"fault": "p/1.jpg: truncated <b>"}, {"picture": 0}]


def test_the_answers_place_is_marked_and_cut_out(tmp_path):
    picture = Image.new("RGB", (400, 200), "white")
    picture.paste("red", (100, 50, 200, 70))
    items = [replace(ITEM, pictures=(lambda: picture,), boxes=(Box(100, 50, 200, 70), Box(0, 150, 40, 160)))]
    read = page(tmp_path / "a.html", items)
    (shown,) = read.items[0]["pictures"]
    assert shown == {"picture": 0, "boxes": [[0.25, 0.25, 0.25, 0.1], [0, 0.75, 0.1, 0.05]], "crops": [1, 2]}
    crop = read.pictures[1].convert("RGB")
    assert crop.size == (100 + 2 * 30, 20 + 2 * 30)
    assert crop.getpixel((80, 40))[1] < 60 < 200 < crop.getpixel((10, 10))[1]


@pytest.mark.parametrize(
    ("box", "marked"),
    [(Box(-50, -50, 40, 15), [[0, 0, 1, 0.5]]), (Box(50, 0, 90, 30), None), (Box(10, 10, 10, 10), None)],
)
def test_a_box_beyond_the_picture(tmp_path, box, marked):
    (item,) = page(tmp_path / "a.html", [replace(ITEM, pictures=(drawn("red"),), boxes=(box,))]).items
    assert item["pictures"][0].get("boxes") == marked


@pytest.mark.parametrize("score", [-0.1, 1.01, float("nan")])
def test_a_score_outside_of_0_to_1_is_refused(score):
    with pytest.raises(ValueError, match=r"1: a score is in 0\.\.1, not"):
        replace(ITEM, score=score)


def test_an_error_leaves_the_page_that_was_there(tmp_path):
    def items():
        yield ITEM
        raise RuntimeError("on the way")

    path = tmp_path / "a.html"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="on the way"):
        page(path, items())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
