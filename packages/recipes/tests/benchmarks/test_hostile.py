"""Benchmarks of strangers: names that lead elsewhere, texts that no file can hold, labels that look like markup."""

import json

import pytest

from recipes.benchmarks.find import benchmark
from recipes.benchmarks.item import Item
from recipes.benchmarks.submissions import MmeFiles
from recipes.commands.evaluate import items_of
from recipes.evaluation.asked import Asked
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import check_items, scores_of
from recipes.evaluation.writing import write_results

YAML = """
about: Labels
split: mine
records:
  class_path: RowRecords
  init_args:
    rows: {class_path: JsonRows, init_args: {files: [a.jsonl]}}
    id: "{id}"
    values: {question: question, kind: kind}
    derived: [{class_path: Answers, init_args: {field: answer, literal: true}}]
prompts: {llava: {text: "{question}"}}
metric: recipes.metrics.ANLS
update: {references: answers}
groups: [kind]
"""
ROW = {"id": "1", "question": "Q?", "answer": "a", "kind": "b"}


@pytest.fixture
def mine(tmp_path):
    """The benchmark with a change of its YAML, and its items."""

    def made(old="", new="", **row):
        (tmp_path / "mine.yaml").write_text(YAML.replace(old, new) if old else YAML + new)
        (tmp_path / "a.jsonl").write_text(json.dumps(ROW | row) + "\n")
        found = benchmark(tmp_path / "mine.yaml")
        return found, items_of(found, tmp_path)

    return made


JSON = "{class_path: JsonRows, init_args: {files: [a.jsonl]}}"
OUTSIDE = [
    ("files: [a.jsonl]", "files: [../a.jsonl]"),
    ("files: [a.jsonl]", "files: [/etc/hosts]"),
    ("files: [a.jsonl]", "files: [x/../../a.jsonl]"),
    (JSON, "{class_path: FolderRows, init_args: {folders: [..]}}"),
    (JSON, "{class_path: FolderRows, init_args: {folders: [.], suffix: /../../a.txt}}"),
    (JSON, "{class_path: ParquetRows, init_args: {split: ../../a}}"),
    (JSON, "{class_path: ParquetRows, init_args: {split: a, config: ../*}}"),
    ('id: "{id}"', 'images: ["{image}"]\n    folders: [../pictures]'),
]


@pytest.mark.parametrize(("old", "new"), OUTSIDE)
def test_files_are_read_only_in_the_folder_of_the_data(mine, tmp_path, old, new):
    (tmp_path.parent / "pictures").mkdir(exist_ok=True)
    with pytest.raises(
        ValueError, match=r"the benchmark names '.*', which is outside of .*: it may only read"
    ) as error:
        mine(old, new, image="1.png")
    assert len(str(error.value).splitlines()) <= 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("question", "line 1, question: boxes of the answer are expected, not 'Q"),
        ("kind", r"line 1, kind: boxes of the answer are expected, not \[1, 2, 3, 4\]"),
        ("boxes", "line 1: places is 'boxes', but there is only question, kind, answers"),
    ],
)
def test_places_that_are_no_boxes(mine, name, message):
    with pytest.raises(ValueError, match=f"a.jsonl, {message}"):
        mine("groups: [kind]", f"places: {name}", kind=[1, 2, 3, 4])


@pytest.mark.parametrize(("old", "new"), [("files: [a.jsonl]", "files: [5]"), ("groups: [kind]", "places: 5")])
def test_a_setting_of_another_kind(mine, old, new):
    with pytest.raises(ValueError, match=r"^\S+mine.yaml: (files|places); a value of type str is expected\.?$"):
        mine(old, new)


def test_links_in_the_folder_of_the_data_are_followed(tmp_path):
    """As one who has all data sets in one place makes them; and a name may go back as long as it stays inside."""
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "data").mkdir()
    (away / "a.jsonl").write_text(json.dumps(ROW) + "\n")
    (away / "1.png").write_bytes(b"")
    (tmp_path / "data" / "linked").symlink_to(away)
    new = "files: [linked/../linked/a.jsonl]}}\n    images: [1.png]\n    folders: [linked]"
    (tmp_path / "mine.yaml").write_text(YAML.replace("files: [a.jsonl]}}", new))
    (item,) = items_of(benchmark(tmp_path / "mine.yaml"), tmp_path / "data")
    assert (item.key, item.pictures[0].find().name) == ("1", "1.png")


@pytest.mark.parametrize(
    "file", ["../a.json", "/a.json", "a/b.json", "..", "", "settings.json", "report.html", "answers-0.jsonl", "a\\0b"]
)
def test_a_submission_stays_in_its_folder(mine, file):
    with pytest.raises(ValueError, match=r"mine.yaml: the submission's file is .*: give a name within"):
        mine(new=f'submission: {{class_path: AnswersById, init_args: {{file: "{file}"}}}}')


def test_a_subtask_is_no_path(tmp_path):
    values = {"subtask": "../../x", "picture": "a/1.png", "original": "Q?", "answer": "Yes"}
    with pytest.raises(ValueError, match=r"a.json, 1: the subtask '../../x' is no name of a file"):
        MmeFiles().write([Item("1", values, where="a.json, 1")], ["yes"], tmp_path / "mme")


@pytest.mark.parametrize("field", ["id", "kind", "answer"])
def test_half_a_character_is_found_before_anything_is_asked(mine, field):
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: a text has half a character"):
        mine(**{field: "a\ud800"})


def test_a_list_that_python_cannot_make(mine):
    with pytest.raises(ValueError, match=r"a.jsonl, line 1, answer: a list is expected"):
        mine(answer="[{{1}}]")


@pytest.mark.parametrize(
    ("old", "new"),
    [("{references: answers}", "{truths: answers}"), ("metrics.ANLS", "metrics.Answered")],
)
def test_a_metric_that_is_given_something_else(mine, old, new):
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: \w+ cannot score it \("):
        check_items(*mine(old, new))


@pytest.mark.parametrize("kind", ["[/b]", "[red]b", "</script><b>", "\x00\x1b[2J"])
def test_labels_are_no_markup(mine, tmp_path, capsys, kind):
    found, items = mine(kind=kind)
    answers = {"1": "a"}
    results = Results("mine", found, items, {"1": Asked("Q?", "hash")}, answers, None, 0)
    write_results(results, scores_of(found, items, answers), {}, tmp_path)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    if kind.isprintable():
        assert f"│ {kind} " in printed
    assert "</script><b>" not in (tmp_path / "report.html").read_text()


def test_a_video_s_name_that_is_too_long(mine):
    named = '    derived: [{class_path: Answers, init_args: {field: answer}}]\n    videos: ["{kind}"]'
    old = "    derived: [{class_path: Answers, init_args: {field: answer, literal: true}}]"
    _, (item,) = mine(old, named, kind="x" * 5000)
    with pytest.raises(ValueError, match=r"a.jsonl, line 1: its video is missing"):
        item.video.find()
