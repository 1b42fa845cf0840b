"""Every benchmark of the table is built, and its parts fit together."""

import inspect
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages.recipes.tests.benchmarks.files import known

from recipes.benchmarks.benchmark import FIELD
from recipes.benchmarks.find import benchmark
from recipes.benchmarks.regions import RegionRecords
from recipes.benchmarks.row_records import FirstThatIsThere, RowRecords
from recipes.benchmarks.rows import Row
from recipes.command_line.benchmarks import listed, names, path_of


def layouts(records):
    """The ways in which a benchmark's rows become questions."""
    if isinstance(records, RegionRecords):
        return layouts(records.records)
    if isinstance(records, FirstThatIsThere):
        return [one for each in records.records for one in layouts(each)]
    return [records] if isinstance(records, RowRecords) else []


HELD_BACK = [name for name in names() if name.endswith(("_test", "_testdev", "_full"))]
"""Benchmarks whose answers are on a server."""
TWINS = [name for name in names() if name.startswith("refcoco") and name not in ("refcoco", "refcoco_regions")]
"""Benchmarks that differ from another one in names of files alone."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in TWINS else name for name in names()]
)
def test_a_benchmark_fits_together(name):
    found = known(name)
    assert found.about
    assert found.split
    assert set(found.prompts) == {"llava", "lmms_eval"}
    taken = inspect.signature(found.metric.update).parameters
    required = [each for each, one in list(taken.items())[1:] if one.default is one.empty]
    assert set(required) <= set(found.update) <= set(taken)
    wanted = {field for prompt in found.prompts.values() for field in FIELD.findall(prompt.text)}
    for records in layouts(found.records):
        there = {*records.values, *(value for each in records.derived for value in each.names)}
        assert wanted | set(found.groups) <= there, there
        assert set(found.update.values()) <= there or name in HELD_BACK


def test_the_stop_text_that_no_task_asks_for():
    """lmms-eval's filler, which its own LLaVA and our adapter ignore, would cut answers of several paragraphs."""
    stops = {name: known(name).prompts["lmms_eval"].stop for name in names() if name not in TWINS}
    assert {stop for each in stops.values() for stop in each} == {"ASSISTANT:"}
    assert stops["docvqa"] == ()


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.integers(0, 10**9), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_templates(fields):
    row = Row("a.json, line 1", 3, fields)
    for key, value in fields.items():
        assert row.filled(f"<{{{key}}}>") == f"<{value}>"
        assert row.filled(f"{{{key}:012d}}") == f"{value:012d}"
    assert row.fields_of("".join(f"{{{key}}}" for key in fields)) == list(fields)


def test_pope_as_its_authors_count_empty_answers(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: pope\nmetric: {class_path: recipes.metrics.PopeFiles, init_args: {strict_reference: true}}\n"
    )
    for path, right in ((path_of("pope"), 0), (tmp_path / "mine.yaml", 1)):
        metric = benchmark(path).metric
        metric.update([""], answers=["yes"], files=["popular"])
        assert float(metric.compute()["accuracy"]) == right


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match=r"--benchmark docvq: there is none of that name; did you mean docvqa\?"):
        path_of("docvq")
    with pytest.raises(ValueError, match=r"--benchmark mine.yaml: there is no such file"):
        path_of("mine.yaml")


def test_extends(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: docvqa\nsplit: mine\nprompts: {llava: {max_new_tokens: 7}}\n")
    (tmp_path / "second.yaml").write_text("extends: mine.yaml\nrecords: PageRecords\n")
    (tmp_path / "circle.yaml").write_text("extends: circle.yaml\n")
    mine, second = benchmark(tmp_path / "mine.yaml"), benchmark(tmp_path / "second.yaml")
    assert (mine.split, mine.prompts["llava"].max_new_tokens) == ("mine", 7)
    assert mine.prompts["llava"].text == known("docvqa").prompts["llava"].text
    assert (second.split, type(second.records).__name__) == ("mine", "PageRecords")
    with pytest.raises(ValueError, match=r"more than 5 benchmarks extend each other"):
        benchmark(tmp_path / "circle.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"bad.yaml: the settings of a benchmark are expected, not a list"),
        ("extends: [docvqa]", r"bad.yaml: extends is .*: give the name of a benchmark"),
        ("extends: docvqa\nmetric: recipes.metrics.Nothing", r"bad.yaml: .*metric"),
        ("extends: docvqa\nrecords: {class_path: os.system}", r"bad.yaml: .*records"),
        ("extends: docvqa\nsplitt: val", r"bad.yaml: .*splitt"),
    ],
)
def test_a_bad_yaml_is_told(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        benchmark(tmp_path / "bad.yaml")


def test_the_short_list_stands_for_all_names():
    families = re.findall(r"(\w+)(?:\[([^]]*)\])?(?:, |$)", listed())
    assert sorted(base + end for base, ends in families for end in ("", *filter(None, ends.split(", ")))) == names()
