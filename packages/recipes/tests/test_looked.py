"""Where a model looked for its worst answers: which items are explained, and those that cannot be."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.core import Box, Size
from recipes.benchmarks.item import Item
from recipes.evaluation import looked
from recipes.evaluation.asked import Asked
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import Scores


class Blank:
    """A white picture."""

    name = "blank"

    def find(self):
        return b""


ITEMS = [Item(key, {}, (Blank(),), where=f"a.json, {key}") for key in "abc"]
BENCHMARK = SimpleNamespace(places_of=lambda item: (Box(0, 0, 1, 1),))
RESULTS = Results("b", BENCHMARK, ITEMS, dict.fromkeys("abc", Asked("Q?", "hash")), {"a": "1", "b": "2"}, None, 0)


@pytest.fixture
def explaining(monkeypatch):
    """Replaces `explain` by a function of the answer; returns which answers it was asked about."""

    def use(function):
        def explain(model, pictures, question, answer, each):
            asked.append(answer)
            return function(answer)

        asked = []
        monkeypatch.setattr(looked, "explain", explain)
        monkeypatch.setattr(looked, "read_picture", lambda data: Image.new("RGB", (2, 1)))
        return asked

    return use


@pytest.mark.parametrize(("number", "worst"), [(1, ["b"]), (3, ["b", "a"])])
def test_the_worst_answers_are_explained(explaining, number, worst):
    table = torch.eye(2)
    asked = explaining(
        lambda answer: SimpleNamespace(
            over_answer=[np.ones((1, 2), np.float32)],
            sizes=[Size(2, 1)],
            query_to_patch=[SimpleNamespace(tables=(table,)), SimpleNamespace(tables=(table[:1],))],
        )
    )
    found = looked.looked_at(None, RESULTS, Scores({}, single=[1.0, 0.5, 0.0]), number)
    assert list(found) == worst
    assert asked == [RESULTS.answers[key] for key in worst]
    assert all(opener().size == (2, 1) for each in found.values() for opener in each.pictures)
    expected = {"relevance": 2, "duplicates": 0, "coverage": 0.75, "effective_queries": pytest.approx(1.5)}
    expected |= {"in_boxes": 0.5, "boxes_area": 0.5}
    assert [each.numbers for each in found.values()] == [expected] * len(worst)


@pytest.mark.parametrize("error", [ValueError, NotImplementedError])
def test_what_cannot_be_explained_ends_nothing(explaining, capsys, error):
    def fail(answer):
        raise error("the plan does not say what its views show")

    explaining(fail)
    assert looked.looked_at(None, RESULTS, None, 1) == {}
    assert capsys.readouterr().err == "not explained: a.json, a: the plan does not say what its views show\n"
