"""The page about benchmarks has all of them, and its examples work."""

import re
from pathlib import Path

import pytest
from packages.recipes.tests.benchmarks.files import shades

from recipes.benchmarks.find import benchmark
from recipes.command_line.benchmarks import names

PAGE = (Path(__file__).parents[4] / "docs/evaluation.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*?) \|", PAGE.partition("## Benchmarks")[2].partition("### ")[0], re.MULTILINE)
OWN, EXTENDING = re.findall(r"```yaml\n(.*?)```", PAGE.partition("### A benchmark of one's own")[2], re.DOTALL)


def test_every_benchmark_is_in_the_table():
    named = [name for row in ROWS for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == names()


def test_a_benchmark_of_ones_own(folder):
    record = {"shelf": "a", "image": "1.jpg", "question": "Which year?", "answer": "2019"}
    where = folder({"mine.yaml": OWN, "labels.jsonl": [record, record], "pictures/a/1.jpg": 33})
    found = benchmark(where / "mine.yaml")
    first, second = found.records.items(where)
    assert (first.key, second.key, shades(first), first.values["shelf"]) == ("1", "2", [33], "a")
    assert found.prompts["llava"].of(first) == "Which year?\nAnswer the question using a single word or phrase."
    found.metric.update(["2018"], [first.values[value] for value in found.update.values()])
    assert float(found.metric.compute()) == 0.75


def test_an_extension(tmp_path):
    (tmp_path / "longer.yaml").write_text(EXTENDING)
    assert benchmark(tmp_path / "longer.yaml").prompts["llava"].max_new_tokens == 256


@pytest.mark.parametrize("line", re.findall(r"`(\{\"shelf.*?\})`", PAGE))
def test_the_line_of_the_example(line):
    import json

    assert set(json.loads(line)) == {"shelf", "image", "question", "answer"}
