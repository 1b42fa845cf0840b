"""Benchmarks that need no download: receipts, conversations, drawn pages."""

import json

import pytest
from packages.recipes.tests.benchmarks.files import shades

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
