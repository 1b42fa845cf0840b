"""Runs compared: what is read from their folders, and what may not stand side by side."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.commands.compare import check_comparable
from recipes.comparison.curves import POINTS, grouped, read_curves, thinned
from recipes.comparison.evaluations import read_evaluation
from recipes.comparison.run import read_run, read_runs
from recipes.comparison.settings import differences, read_settings


def write_scores(folder, score=0.5, checkpoint="", **changed):
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"checkpoint": checkpoint, "prompt_hash": "aa", "preprocessing_hash": "bb", "max_new_tokens": 16}
    content = {
        "benchmark": "docvqa",
        "split": "val",
        "items": 8,
        "missing": 0,
        "unparsed": 1,
        "scores": {"anls": score},
        "metric": {"class": "recipes.metrics.Anls", "options": {}},
        "settings": asked | changed,
    }
    (folder / "scores.json").write_text(json.dumps(content))
    return folder


def write_log(folder, text="step,epoch,train/loss\n0,0,2.0\n1,0,1.0\n"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.csv").write_text(text)
    return folder


def test_curves_of_a_log(tmp_path):
    text = "step,epoch,train/loss,val/anls,speed/mfu\n0,0,2.5,,\n0,0,,0.25,\n3,0,nan,,\n4,0,1.5,,\n5,0,9"
    curves = read_curves(write_log(tmp_path, text) / "metrics.csv")
    assert list(curves) == ["train/loss", "val/anls"], "an empty column is no curve"
    assert curves["train/loss"].points == ((0, 2.5), (4, 1.5)), "without the incomplete line"
    assert curves["train/loss"].left_out == 1
    assert curves["val/anls"].points == ((0, 0.25),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column step, so it is not the table of a run"),
        ("", "has no column step"),
        ("step,train/loss\n0,low\n", "line 2, column train/loss: a number is expected, not 'low'"),
        ("step,train/loss\n,1\n", "line 2, column step: a number is expected, not ''"),
        ("step,train/loss\n0,1\nnan,1\n", "line 3, column step: nan cannot be the number of a step"),
        ("step,train/loss\n1e308,1\n", "line 2, column step: 1e\\+308 cannot be the number of a step"),
        ("step," + "a" * 200_000 + "\n0,1\n", r"metrics\.csv: not CSV \(field larger"),
    ],
)
def test_what_is_no_log(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read_curves(write_log(tmp_path, text) / "metrics.csv")


def test_headings():
    names = ["val/anls", "train/loss", "blank/anls", "train_loss", "lr-AdamW", "accuracy"]
    assert grouped(names) == {
        "Training": ["train/loss", "train_loss"],
        "Validation": ["val/anls"],
        "Controls: blank pictures": ["blank/anls"],
        "Learning rates": ["lr-AdamW"],
        "Other curves": ["accuracy"],
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6)), max_size=3000))
def test_a_thinned_curve_keeps_its_mean(points):
    thin = thinned(points)
    assert len(thin) <= min(POINTS, len(points))
    if points and len(points) % max(len(thin), 1) == 0:
        mean, before = (sum(value for _, value in each) / len(each) for each in (thin, points))
        assert math.isclose(mean, before, rel_tol=1e-6, abs_tol=1e-3)


def test_settings_that_differ(tmp_path):
    texts = (
        "model:\n  network:\n    init_args:\n      plan: {class_path: A, init_args: {scale: 32}}\n  lr: 0.1\n",
        "model:\n  network:\n    init_args:\n      plan: {class_path: B}\n  lr: 0.1\n"
        "trainer: {callbacks: [{a: 1}, {a: 2}]}\n",
    )
    read = []
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yaml").write_text(text)
        read.append(read_settings(tmp_path / f"{number}.yaml"))
    assert differences([read[0], None, read[1]]) == (
        {
            "model.network.plan.class_path": ["A", None, "B"],
            "model.network.plan.scale": ["32", None, None],
            "trainer.callbacks.0.a": [None, None, "1"],
            "trainer.callbacks.1.a": [None, None, "2"],
        },
        1,
    )


def test_a_checkpoints_scores_are_its_runs(tmp_path):
    write_log(tmp_path / "a")
    other = write_scores(tmp_path / "other", 0.2, "hub/name")
    own = write_scores(tmp_path / "own", 0.4, str(tmp_path / "a" / "checkpoint"))
    write_scores(tmp_path / "a" / "evaluations" / "docvqa", 0.1)
    write_scores(tmp_path / "a" / "states" / "docvqa")
    first, second = read_runs([own, other, tmp_path / "a"])
    assert (first.name, second.name) == (str(tmp_path / "a"), str(other))
    assert [each.scores["anls"] for each in first.evaluations] == [0.1, 0.4]
    assert [each.scores["anls"] for each in second.evaluations] == [0.2]


@pytest.mark.parametrize("changed", [{"prompt_hash": "cc"}, {"prompt_hash": None}])
def test_scores_measured_in_different_ways_are_refused(tmp_path, changed):
    runs = read_runs([write_scores(tmp_path / "a"), write_scores(tmp_path / "b", **changed)])
    said = rf"docvqa, val: .* {next(iter(changed))} differs:\n.* (aa|bb)\n.* (cc|null)\n"
    with pytest.raises(ValueError, match=said) as raised:
        check_comparable(runs)
    assert len(str(raised.value).splitlines()) <= 4
    check_comparable(runs[:1])


def test_scores_of_fewer_questions_are_refused(tmp_path):
    """As `evaluate --limit` leaves them."""
    runs = [write_scores(tmp_path / "a"), write_scores(tmp_path / "b")]
    text = (tmp_path / "b" / "scores.json").read_text()
    (tmp_path / "b" / "scores.json").write_text(text.replace('"items": 8', '"items": 2'))
    with pytest.raises(ValueError, match=r"items differs:\n.* items 8\n.* items 2\n"):
        check_comparable(read_runs(runs))


def test_other_tokens_and_other_benchmarks_are_comparable(tmp_path):
    runs = [write_scores(tmp_path / "a"), write_scores(tmp_path / "b", max_new_tokens=99), write_scores(tmp_path / "c")]
    text = (tmp_path / "c" / "scores.json").read_text()
    (tmp_path / "c" / "scores.json").write_text(text.replace('"docvqa"', '"gqa"').replace('"aa"', '"zz"'))
    check_comparable(read_runs(runs))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "scores.json: not JSON"),
        ("[]", "an object is expected, not a list"),
        ("{}", "has no key 'benchmark', so it is not a file of scores"),
        ('{"benchmark": "a", "split": "b", "items": 1, "missing": 0, "unparsed": 0, "scores": 3}', "is not a file of"),
        (
            '{"benchmark": "a", "split": "b", "items": Infinity, "missing": 0, "unparsed": 0, "scores": {}}',
            "is not a file",
        ),
    ],
)
def test_damaged_scores(tmp_path, text, said):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_evaluation(tmp_path / "scores.json")


def test_an_eye_test(tmp_path):
    smallest = {
        "0.5": {"height": 5.04, "low": None, "high": 6.0, "beyond": None},
        "0.9": {"height": None, "low": None, "high": None, "beyond": "above"},
    }
    content = {
        "format": 1,
        "alphabet": "0123",
        "characters": 3,
        "sizes": ["48x32"],
        "fonts": ["a", "b"],
        "contrasts": [1.0],
    }
    content["models"] = [{"model": "uhd", "smallest": smallest}, {"model": "blind", "smallest": None}]
    (tmp_path / "acuity.json").write_text(json.dumps(content))
    uhd, blind = read_run(tmp_path).acuity
    assert uhd.pages == "alphabet 0123, characters 3, sizes 48x32, fonts a, b, contrasts 1.0"
    assert uhd.smallest == {0.5: "5.0 px (? to 6.0)", 0.9: "above all heights tested"}
    assert blind.smallest == {}


@pytest.mark.parametrize("written", [2, None, "1"])
def test_an_eye_test_of_another_format(tmp_path, written):
    (tmp_path / "acuity.json").write_text(json.dumps({"format": written, "alphabet": "0"}))
    with pytest.raises(ValueError, match=rf"acuity\.json has format {written!r}, this version reads format 1: chart"):
        read_run(tmp_path)


@pytest.mark.parametrize("smallest", [{"half": {}}, {"0.5": {"height": 10**400, "low": 1, "high": 2}}])
def test_a_damaged_eye_test(tmp_path, smallest):
    content = {"alphabet": "0", "characters": 3, "sizes": [], "fonts": [], "contrasts": []}
    content["models"] = [{"model": "uhd", "smallest": smallest}]
    (tmp_path / "acuity.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"acuity\.json does not come from recipes\.acuity"):
        read_run(tmp_path)


def test_files_that_name_what_cannot_be(tmp_path):
    write_scores(tmp_path / "a", checkpoint="a\0b")
    write_log(tmp_path / "b")
    assert len(read_runs([tmp_path / "b", tmp_path / "a"])) == 2, "scores of a checkpoint of no run"
    (tmp_path / "config.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ValueError, match=r"config\.yaml is not UTF-8"):
        read_settings(tmp_path / "config.yaml")


def test_an_eye_test_under_a_run_shows_its_chart(tmp_path):
    """The charts of two runs stand side by side if their folders have the same name."""
    write_log(tmp_path)
    content = {"format": 1, "alphabet": "0", "characters": 3, "sizes": [], "fonts": [], "contrasts": [], "models": []}
    for name in ("eye", "checkpoint"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "acuity.json").write_text(json.dumps(content))
        (tmp_path / name / "acuity.png").write_bytes(b"")
    assert read_run(tmp_path).pictures == {"eye/acuity.png": tmp_path / "eye" / "acuity.png"}


def test_a_run_that_has_logged_nothing_yet(tmp_path):
    (tmp_path / "config.yaml").write_text("trainer: {max_steps: 3}\n")
    run = read_run(tmp_path)
    assert (run.settings, run.only_settings, run.only_scores) == ({"trainer.max_steps": "3"}, True, False)
    write_log(tmp_path)
    assert not read_run(tmp_path).only_settings
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.yaml").write_text("format: 1\nplan: {class_path: A}\n")
    with pytest.raises(ValueError, match=r"checkpoint holds no metrics\.csv"):
        read_run(tmp_path / "checkpoint")


def test_folders_without_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no run .*none"):
        read_run(tmp_path / "none")
    with pytest.raises(ValueError, match=r"holds no metrics\.csv, scores\.json or acuity\.json: give"):
        read_run(tmp_path)
    write_log(tmp_path / "version_0")
    with pytest.raises(ValueError, match=r"holds runs: name them, such as .*version_0"):
        read_run(tmp_path)
