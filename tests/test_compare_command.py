"""The compare command as a process, and its page in a browser."""

import json

import pytest
from tests.browser import screenshot

pytestmark = pytest.mark.slow
LOG = "step,epoch,train/loss,val/anls\n" + "".join(f"{step},0,{2 / (step + 1)},\n" for step in range(100))


def write_run(folder, plan, prompt="aa"):
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(f"{LOG}99,0,,0.5\n")
    (folder / "config.yaml").write_text(f"trainer: {{max_steps: 100}}\nplan: {plan}\n")
    content = {
        "benchmark": "receipts",
        "split": "val",
        "items": 8,
        "missing": 0,
        "unparsed": 0,
        "scores": {"anls": 0.5},
    }
    content |= {"metric": {}, "settings": {"prompt_hash": prompt, "preprocessing_hash": "bb"}}
    (folder / "scores.json").write_text(json.dumps(content))


def test_as_typed(command, tmp_path, request):
    write_run(tmp_path / "runs/uhd", "UhdPlan")
    write_run(tmp_path / "runs/llava", "PadToSquare", prompt="cc")
    refused = command("compare", "runs/uhd", "runs/llava", "--output", "compared", code=1)
    assert refused.stderr.startswith(
        "error: receipts, val: these scores are not comparable, prompt_hash differs:\n"
        "runs/uhd/scores.json: prompt_hash aa\nruns/llava/scores.json: prompt_hash cc\n"
    )
    assert not (tmp_path / "compared").exists()
    done = command("compare", "runs/uhd", "runs/llava", "runs/uhd/metrics.csv", "--output", "compared", "--force")
    assert (done.stdout, done.stderr) == ("comparison: compared/comparison.html\n", "")
    tab = request.getfixturevalue("tab")
    tab.goto((tmp_path / "compared/comparison.html").as_uri())
    curves = tab.locator("figure polyline:visible")
    screenshot(tab, "comparison")
    assert curves.count() == 6, "three of the loss, each smoothed and as measured"
    tab.get_by_role("checkbox", name="runs/llava").uncheck()
    assert curves.count() == 4
    assert tab.get_by_role("cell", name="PadToSquare").is_visible()
    tab.set_viewport_size({"width": 360, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_what_is_refused(command):
    assert command("compare", "none", "--output", "out", code=1).stderr.startswith("error: there is no run none\n")
    twice = command("compare", "a", "a", "--output", "out", code=2)
    assert twice.stderr.startswith("error: a is given twice\n")
