"""Benchmarks that need no download: receipts, conversations, drawn pages."""

import json

import pytest
from packages.recipes.tests.benchmarks.files import shades
from packages.recipes.tests.page_reading import PageReader
from PIL import Image

from foveal.core import Box
from recipes.evaluation.asked import Asked
from recipes.evaluation.page import show
from recipes.evaluation.results import Results
from recipes.reading.pictures import read_picture


def test_receipts(ask, table):
    record = {"id": "588", "image": "images/588.jpg", "key": {"company": "ACME", "total": "8.10"}, "lines": []}
    (item,) = ask("receipts", {"val_annotations.json": [record], "images/588.jpg": 200})
    assert (item.key, shades(item)) == ("588", [200])
    prompt = table("receipts").prompts["llava"].of(item)
    assert prompt == "Return the fields company, date, address and total as JSON."
    score = table("receipts").metric.clone()
    score.update([json.dumps({"company": "ACME"}), "none", None], [item.values["record"]] * 3)
    assert float(score.compute()["f1"]) == pytest.approx(1 / (1 + 5 / 2))
    assert (int(score.unparsed), int(score.missing)) == (1, 1)


def test_where_a_receipts_fields_stand(ask, table, tmp_path):
    """Each in the lines that hold it, or parts of it; the page marks them."""
    texts = ["ACME  TOYS, SDN BHD", "12, HIGH", "STREET", "NO", "TOTAL 8.10", "CASH", "8.10", "18.10"]
    lines = [{"box": [10, 20 * number, 60, 20 * number + 15], "text": text} for number, text in enumerate(texts)]
    key = {"company": "ACME TOYS", "address": "12 HIGH STREET, NO 7", "total": "8.10", "date": "1/2", "address2": ""}
    record = {"id": "588", "image": "images/588.jpg", "key": key, "lines": lines}
    files = {"val_annotations.json": [record], "images/588.jpg": 200}
    (item,) = ask("receipts", files)
    company, address, total, cash = item.values["places"]
    assert (company, address) == (Box(10, 0, 60, 15), Box(10, 20, 60, 55))
    assert (total, cash) == (Box(10, 80, 60, 95), Box(10, 120, 60, 135))
    page = Image.linear_gradient("L").resize((100, 200))
    page.save(item.pictures[0].find())
    shown = Results("receipts", table("receipts"), [item], {"588": Asked("?", "hash")}, {}, None, 0)
    show(shown, None, {}, tmp_path / "page.html")
    (picture,) = PageReader(tmp_path / "page.html").items[0]["pictures"]
    assert picture["boxes"][:2] == [[0.1, 0, 0.5, 0.075], [0.1, 0.1, 0.5, 0.175]]
    assert len(set(picture["crops"])) == 4
    for lines, message in (({"text": 1}, "lines: a list is expected"), ([{"text": "a"}], "line 1: a box of four")):
        with pytest.raises(ValueError, match=message):
            ask("receipts", files | {"val_annotations.json": [record | {"lines": lines}]})
    assert json.loads(PageReader(tmp_path / "page.html").items[0]["references"][0]) == key


NO_BOXES = [
    ("1 2 3 4", "four numbers are"),
    ([1, 2, 3], "four numbers are"),
    (["1", "2", "3", "4"], "four numbers are"),
    ([True, 2, 3, 4], "four numbers are"),
    ([float("nan"), 2, 3, 4], "a box in pixels is"),
    ([1, 2, float("inf"), 4], "a box in pixels is"),
    ([1, 2, 10**400, 4], "a box in pixels is"),
    ([3, 2, 1, 4], "left, top, right, bottom are"),
    ([1, 4, 3, 2], "left, top, right, bottom are"),
]


@pytest.mark.parametrize(("box", "message"), NO_BOXES)
def test_a_box_that_is_none(ask, box, message):
    """It would be left out of the page, and so would the lines beside it."""
    record = {"id": "588", "image": "1.jpg", "key": {}, "lines": [{"box": box, "text": "ACME"}]}
    with pytest.raises(ValueError, match=f"record 1, lines, line 1, box: {message} expected, not"):
        ask("receipts", {"val_annotations.json": [record], "1.jpg": 200})


def test_a_box_beyond_the_picture(ask):
    record = {"id": "588", "image": "1.jpg", "key": {"a": "ACME"}, "lines": [{"box": [-9, 2, 90, 2], "text": "ACME"}]}
    (item,) = ask("receipts", {"val_annotations.json": [record], "1.jpg": 200})
    assert item.values["places"] == (Box(-9, 2, 90, 2),)


def test_conversations(ask, table):
    talk = [("human", "Which shop?\n<image>"), ("gpt", "ACME"), ("human", "And the total?"), ("gpt", "8.10")]
    spoken = [{"from": who, "value": text} for who, text in talk]
    records = [
        {"id": "a", "image": "p/1.jpg", "conversations": spoken},
        {"id": "b", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
    ]
    items = ask("conversations", {"val.json": records, "p/1.jpg": 50})
    assert [item.key for item in items] == ["a", "a#2", "b"]
    assert [item.values["answers"] for item in items] == [["ACME"], ["8.10"], ["Ho"]]
    prompts = [table("conversations").prompts["llava"].of(item) for item in items]
    assert prompts == ["Which shop?\n<image>", "And the total?", "Hi"]
    assert [shades(item) for item in items] == [[50], [50], []]


def test_pages(table, tmp_path):
    items = list(table("pages").records.items(tmp_path))
    assert len(items) == len({item.key for item in items}) == 100
    assert items[0].values["question"] == "Read."
    assert items[0].values["answers"][0].isdigit()
    assert read_picture(items[0].pictures[0].find()).size[0] >= 32
