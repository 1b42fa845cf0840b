"""The page of a comparison, and the charts on it."""

import re
import subprocess
import sys
from argparse import Namespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packages.recipes.tests.page_reading import PageReader
from packages.recipes.tests.test_comparison import write_log, write_scores
from PIL import Image

from recipes.commands.compare import main
from recipes.comparison.curves import LARGEST
from recipes.comparison.run import read_runs
from recipes.reports.comparison_page import write_comparison
from recipes.reports.html.chart import HEIGHT, WIDTH, Line, draw_chart

LOG = "step,epoch,train/loss,val/anls,blank/anls\n0,0,2.0,,\n1,0,1.0,,\n1,0,,0.75,\n1,0,,,0.25\n"


def compared(paths, page):
    write_comparison(read_runs(paths), page)
    return PageReader(page)


def test_what_is_in_the_page(tmp_path):
    first, second = (write_log(tmp_path / name, LOG) for name in ("a", "b"))
    for folder, steps in ((first, 100), (second, 200)):
        (folder / "config.yaml").write_text(f"trainer: {{max_steps: {steps}, devices: 2}}\n")
        Image.new("RGB", (300, 200), "red").save(folder / "predictions.png")
    write_scores(first / "docvqa", 0.625)
    (second / "predictions.png").write_bytes(b"no picture")
    read = compared([first, second], tmp_path / "out" / "c.html")
    words = read.words
    headings = ["Scores", "At the end", "Training", "Validation", "Controls: blank pictures", "Settings that differ"]
    assert [word for word in words if word in headings] == headings
    assert {"docvqa, val", "0.6250", "items", "8", "0.7500 at 1", "max_steps", "100", "200"} <= set(words)
    assert "1 other settings are the same" in words
    assert any(f"{second / 'predictions.png'} cannot be read" in word for word in words)
    images = [given for tag, given in read.starts if tag == "img"]
    assert [each["alt"] for each in images] == [f"predictions.png of {first}"]
    assert images[0]["src"].startswith("data:image/webp;base64,")
    assert read.allows("style")
    assert read.allows("script")


def test_a_log_alone(tmp_path):
    write_log(tmp_path, "step,epoch,loss\n0,0,2\n10,0,1\n")
    read = compared([tmp_path / "metrics.csv"], tmp_path / "c.html")
    assert [given["aria-label"] for tag, given in read.starts if given.get("role") == "img"] == [
        f"loss by optimizer step: {tmp_path}/metrics.csv ends at 1"
    ]
    assert "Scores" not in read.words
    assert "Settings that differ" not in read.words


def test_scores_that_are_not_comparable_are_marked(tmp_path):
    runs = [write_scores(tmp_path / "a"), write_scores(tmp_path / "b", prompt_hash="cc", preprocessing_hash="dd")]
    words = compared(runs, tmp_path / "c.html").words
    assert "Not comparable: prompt_hash: aa | cc" in words
    assert "Not the same: preprocessing_hash: bb | dd" in words


def test_scores_of_fewer_questions_are_marked_once(tmp_path):
    runs = [write_scores(tmp_path / "a"), write_scores(tmp_path / "b")]
    text = (tmp_path / "b" / "scores.json").read_text()
    (tmp_path / "b" / "scores.json").write_text(text.replace('"items": 8', '"items": 2'))
    words = compared(runs, tmp_path / "c.html").words
    assert [word for word in words if "items" in word] == ["items", "Not comparable: items: 8 | 2"]


def test_several_scores_of_a_run_are_told_apart(tmp_path):
    own = write_log(tmp_path / "a")
    folders = [write_scores(own / name) for name in ("one", "two")]
    words = compared([own, write_log(tmp_path / "b")], tmp_path / "c.html").words
    assert {f"{own}: {folder}" for folder in folders} <= set(words)
    words = compared([own, write_scores(tmp_path / "c")], tmp_path / "c.html").words
    assert {*(f"{own}: {folder}" for folder in folders), str(tmp_path / "c")} <= set(words)


def test_a_run_that_has_logged_nothing_yet_is_named(tmp_path, capsys):
    runs = [write_log(tmp_path / "a"), tmp_path / "b"]
    runs[1].mkdir()
    for run in runs:
        (run / "config.yaml").write_text(f"trainer: {{max_steps: 3}}\nname: {run.name}\n")
    main(Namespace(runs=runs, output=tmp_path, force=False))
    assert capsys.readouterr().err == f"{runs[1]} has logged nothing yet: only its settings are shown\n"
    words = PageReader(tmp_path / "comparison.html").words
    assert {f"Nothing logged yet, only settings: {runs[1]}", "Settings that differ"} <= set(words)


def test_names_are_only_texts(tmp_path):
    hostile = tmp_path / "<script>alert(1)<"
    write_log(hostile, 'step,<b>"x\n0,1\n')
    read = compared([hostile], tmp_path / "c.html")
    assert [tag for tag, _ in read.starts].count("script") == 1
    assert "b" not in [tag for tag, _ in read.starts]
    assert '<b>"x' in read.words


NUMBERS = st.floats(-LARGEST, LARGEST)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
@example([(1e99, 1e99), (1e99 + 1e83, 1e99)])
@example([(0.0, 5e-324), (5e-324, 0.0)])
def test_curves_and_marks_are_inside_of_the_chart(points):
    drawn = draw_chart("t", [Line(0, "a", sorted(points), marked=True)], across="step")
    places = re.findall(r'c[xy]="([-\d.e]+)"', drawn) + re.findall(r'[xy][12]="([-\d.e]+)"', drawn)
    assert all(0 <= float(place) <= max(WIDTH, HEIGHT) for place in places)
    assert drawn.count("<circle") == len(points)
    assert 2 <= drawn.count('<text x="54"') <= 7, "numbers beside the axis"


@pytest.mark.parametrize(("run", "kind"), [(0, "of-0 run-0"), (9, "of-9 run-1 dashed"), (16, "of-16 run-0")])
def test_runs_beyond_the_colours_are_dashed(run, kind):
    assert f'<polyline class="{kind}"' in draw_chart("t", [Line(run, "a", [(0, 0), (1, 1)])], across="step")


def test_runs_are_compared_without_torch():
    program = "import sys, recipes.commands.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
