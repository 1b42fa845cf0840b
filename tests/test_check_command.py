"""`python -m recipes.check`, typed as a process: table, report, picture, exit code."""

import json
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def typed(folder, *arguments):
    command = [sys.executable, "-m", "recipes.check", "--config", "uhd", "--config", "data/llava", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def record(name, image="good.png", answer="12"):
    spoken = [{"from": "human", "value": "<image>\nRead."}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": spoken}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (40, 24)).save(tmp_path / "good.png")
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-500])
    good = [record("a"), record("b", answer="34"), record("c")]
    bad = [record("cut", "cut.jpg"), record("long", answer="9" * 10_000), record("gone", "gone.png"), {"id": "no"}]
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "bad.json").write_text(json.dumps([*good, *bad]))
    (tmp_path / "mix.yaml").write_text("sources: [{path: good.json, weight: 2}, {path: bad.json}]")
    return tmp_path


def test_data_that_can_be_used(folder):
    ran = typed(folder, "--data.path=good.json", "--data.val_path=good.json", "--run=report")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "report: report/report.json\nlengths: report/lengths.png" in ran.stdout
    train, val = json.loads((folder / "report/report.json").read_text())
    assert (train["samples"], train["cannot be used"], train["turns"]) == (3, 0, {"user": 3, "assistant": 3})
    assert train["duplicate records"] == ["good.json, record 3 (id c) repeats good.json, record 1 (id a)"]
    assert train["tokens"]["all"] == 3 * train["tokens"]["longest"]
    assert val["samples"] == 3
    with Image.open(folder / "report/lengths.png") as picture:
        assert picture.width > 500


def test_data_that_cannot(folder):
    ran = typed(folder, "--data.path=mix.yaml")
    assert (ran.returncode, ran.stderr) == (1, "")
    good, bad = json.loads((folder / "checks/uhd/version_0/report.json").read_text())
    assert good["cannot be used"] == 0
    assert (bad["samples"], bad["cannot be used"], bad["do not fit"]) == (7, 4, 1)
    for found, reason in zip(bad["faults"], ("cut.jpg: damaged", "the sample has", "no file", "expected"), strict=True):
        assert found.startswith("bad.json, record ")
        assert reason in found
        assert found in ran.stdout


def test_the_class_by_another_name(folder):
    ran = typed(folder, "--data=recipes.data.llava.LlavaData", "--data.path=good.json", "--run=report")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_pages_have_nothing_to_check(folder):
    ran = subprocess.run(
        [sys.executable, "-m", "recipes.check", "--config", "uhd"], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: only data from files can be checked: give --config data/llava and --data.path")
