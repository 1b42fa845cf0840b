"""The study: equal conditions for all arms, trainings that go on, the table."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser
from tools.study import results, table, train
from tools.study.__main__ import main
from tools.study.arms import ARMS, BASELINE, COMPRESSION, CONFIGURATIONS, DETAIL, shared_data
from tools.study.chart import draw_chart
from tools.study.record import Cost, Finished, Record, Score, read_record, write_record
from tools.study.results import Study, create, steps_of

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import prompt_tokens
from recipes.command_line.configurations import merged

ROOT = Path(__file__).parents[1]
STAGES = sorted({stage for arm in ARMS.values() for stage in arm.stages}, key=lambda stage: stage.name)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_arms_differ_only_in_how_they_see(stage):
    ours, baseline = merged(str(stage.configuration)), merged(str(CONFIGURATIONS / "llava.yaml"))
    for found in (ours, baseline):
        found["model"].pop("rates", None)  # Vary's vocabulary is frozen
        for part in ("encoder", "connector", "plan", "merge"):
            found["model"]["network"].pop(part, None)
    assert ours == baseline


def test_every_configuration_belongs_to_an_arm_of_equal_steps():
    assert {path.stem for path in CONFIGURATIONS.glob("*.yaml")} == {"study"} | {stage.name for stage in STAGES}
    assert all(sum(stage.share for stage in arm.stages) == 1 for arm in ARMS.values())


@pytest.mark.parametrize("name", [name for name in ARMS if name != "vary"])
def test_budget_of_visual_tokens(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--network", type=VisionLanguageModel)
    settings = merged(str(ARMS[name].stages[-1].configuration))["model"]["network"]
    with torch.device("meta"):
        model = parser.instantiate(parser.parse_object({"network": settings})).network
    tokens = [prompt_tokens(model, [Size.of(size)])[0] for size in shared_data()["settings"]["sizes"]]
    if name in COMPRESSION:
        assert set(tokens) == {16}
    elif name == "llava_next":
        assert min(tokens) > 128
    elif name == "uhd":
        assert sum(tokens) / len(tokens) == 64
    else:
        assert set(tokens) == {64}


VALIDATION = "step,val/anls,val/exact\n1,0.25,0.125\n{},{},0.5\n"


@pytest.fixture
def fitting(monkeypatch):
    """Instead of training, a process that writes validations after a moment; `fails`: stages that end with code 1."""
    fails, started = set(), []

    def command(study, arm, stage, seed):
        started.append((seed, stage.name))
        text = VALIDATION.format(stage.steps(8) - 1, 0.5 + seed / 4)
        code = f"import pathlib; run = pathlib.Path({stage.name!r}); (run / 'checkpoint').mkdir(parents=True); "
        code += f"(run / 'metrics.csv').write_text({text!r})"
        return [sys.executable, "-c", "raise SystemExit(1)" if stage.name in fails else code]

    monkeypatch.setattr(train, "command", command)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return fails, started


def test_trained_seed_by_seed_and_only_once(tmp_path, fitting, capsys):
    fails, started = fitting
    study = Study(tmp_path, 8)
    fails.add("vary")
    (message,) = train.train(study, ["llava", "vary"], [0], jobs=2)
    assert message == f"seed 0, vary: exit code 1, see {tmp_path}/seed-0/vary.log"
    fails.clear()
    started.clear()
    assert train.train(study, ["llava", "vary"], [0, 1], jobs=1) == []
    assert started == [(0, "vary"), (1, "llava"), (1, "vary_vocabulary"), (1, "vary")]
    assert study.scores(1, "vary") == [Score(2, 0.25, 0.125), Score(4, 0.75, 0.5)]
    started.clear()
    assert train.train(study, ["llava", "vary"], [0, 1], jobs=2) == []
    assert started == []
    assert "4 of 4 runs are finished, 0 are left" in capsys.readouterr().out


def test_a_run_without_its_last_validation_fails(tmp_path, fitting):
    study = Study(tmp_path, 9)
    (message,) = train.train(study, ["llava"], [0], jobs=1)
    assert "no validation after step 9: remove it" in message
    assert study.scores(0, "llava") is None


def test_a_run_without_a_state_starts_anew(tmp_path):
    study = Study(tmp_path, 100)
    vocabulary, last = ARMS["vary"].stages
    left = tmp_path / "seed-7" / "vary" / "config.yaml"
    left.parent.mkdir(parents=True)
    left.touch()
    words = train.command(study, ARMS["vary"], last, 7)
    assert not left.exists()
    assert {"--seed_everything=7", "--data.seed=7", "--data.pages=1600"} <= set(words)
    state = tmp_path / "seed-7/vary_vocabulary/states/step-00000004"
    state.mkdir(parents=True)
    (state / "state.json").touch()
    words = train.command(study, ARMS["vary"], vocabulary, 7)
    # Pages that the last stage does not see again.
    assert "--data.seed=1007" in words
    assert words[-2:] == ["--ckpt_path", "last"]
    assert state.exists()


def test_a_run_that_began_with_another_configuration(tmp_path, fitting, monkeypatch):
    _, started = fitting
    study = Study(tmp_path, 8)
    train.train(study, ["vary"], [0], jobs=1)
    monkeypatch.setattr(results, "stage_digest", lambda stage: "other")
    with pytest.raises(ValueError, match=r"vary_vocabulary began with another configuration .* remove it to train it"):
        study.finish(0, "vary", tmp_path / "seed-0" / "vary", 4)
    (tmp_path / "seed-0" / "vary.json").unlink()
    started.clear()
    with pytest.raises(ValueError, match=r"vary_vocabulary began with another configuration"):
        train.train(study, ["vary"], [0], jobs=1)
    assert started == []
    train.train(study, ["vary"], [1], jobs=1)
    assert started == [(1, "vary_vocabulary"), (1, "vary")]


def test_other_steps_are_refused(tmp_path):
    assert steps_of(tmp_path / "new", None) is None
    assert steps_of(tmp_path / "new", 8) == 8
    create(tmp_path / "new", 1500)
    assert steps_of(tmp_path / "new", None) == 1500
    with pytest.raises(ValueError, match="has arms of 1500 steps: use another --output for 8 steps"):
        steps_of(tmp_path / "new", 8)


COST = Cost(64, 0, 163.25, 921.25, 18.6)
ELSEWHERE = Finished(COST, [Score(4, 0.25, 0.125), Score(8, 0.5, 0.25)])


def test_recorded_runs_are_not_trained_again(tmp_path, fitting, monkeypatch):
    record = tmp_path / "study.json"
    assert read_record(record) is None
    write_record(record, 8, {(1, "deco"): ELSEWHERE, (1, "llava"): ELSEWHERE})
    found = read_record(record)
    assert found == Record(8, {(1, "llava"): ELSEWHERE, (1, "deco"): ELSEWHERE})
    assert list(found.runs) == [(1, "llava"), (1, "deco")]
    assert train.train(Study(tmp_path / "out", 8, found.runs), ["llava", "deco"], [0, 1], jobs=2) == []
    assert sorted(fitting[1]) == [(0, "deco"), (0, "llava")]
    # A run under another configuration is not a run of this arm.
    monkeypatch.setitem(ARMS, "deco", ARMS["uhd"])
    assert read_record(record) == Record(8, {(1, "llava"): ELSEWHERE}, ("deco",))
    with pytest.raises(ValueError, match=r"deco\.json: trained with other configurations than today's"):
        Study(tmp_path / "out", 8).scores(0, "deco")


@pytest.mark.parametrize(
    "content",
    ["<<<<<<< ours", "[]", "{}", '{"steps": 8, "arms": []}', '{"steps": 8, "arms": {"deco": {}}}', "EMPTY", "SCORE"],
)
def test_a_damaged_record(content, tmp_path, monkeypatch, capsys):
    record = tmp_path / "study.json"
    write_record(record, 8, {(1, "deco"): ELSEWHERE})
    whole = json.loads(record.read_text())
    if content == "EMPTY":
        whole["arms"]["deco"]["seeds"]["1"] = []
    if content == "SCORE":
        whole["arms"]["deco"]["seeds"]["1"][0]["rouge"] = 1
    record.write_text(json.dumps(whole) if content in ("EMPTY", "SCORE") else content)
    for words in ((), ("--report",)):
        monkeypatch.setattr(sys, "argv", ["study", "--output", str(tmp_path / "out"), "--docs", str(tmp_path), *words])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert f"{record}: no record of a study (" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_that_a_report_leaves_out_are_named(tmp_path, fitting, monkeypatch, capsys):
    train.train(Study(tmp_path / "out", 8), ["llava"], [0], jobs=1)
    create(tmp_path / "out", 8)
    shutil.rmtree(tmp_path / "out/seed-0/llava")
    words = ["study", "--output", str(tmp_path / "out"), "--docs", str(tmp_path), "--report"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "llava has scores, but its checkpoint is gone" in capsys.readouterr().err
    write_record(tmp_path / "study.json", 8, {(1, "uhd"): ELSEWHERE})
    monkeypatch.setitem(ARMS, "uhd", ARMS["deco"])
    monkeypatch.setattr(table, "cost_of", lambda study, name: COST)
    assert main() == 0
    assert "trained with other configurations: uhd\n" in capsys.readouterr().out


def test_reports_come_together_from_several_places(tmp_path, fitting, monkeypatch, capsys):
    docs = tmp_path / "docs"
    counted = table.cost_of
    for seed, place in enumerate(("here", "there")):
        train.train(Study(tmp_path / place, 8), ["llava"], [seed], jobs=1)
        create(tmp_path / place, 8)
        monkeypatch.setattr(table, "cost_of", lambda study, name: COST)
        words = ["--output", str(tmp_path / place), "--docs", str(docs), "--report"]
        monkeypatch.setattr(sys, "argv", ["study", *words])
        assert main() == 0
    monkeypatch.setattr(table, "cost_of", counted)
    monkeypatch.setattr(sys, "argv", ["study", "--output", str(tmp_path / "nothing"), "--docs", str(docs), "--report"])
    assert main() == 0
    assert "| LLaVA-1.5 | 64 | 163 | 921, 19 | 0.250 ± 0.000 | 0.625 ± 0.177 |" in (docs / "study.md").read_text()
    assert not (tmp_path / "nothing").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--steps", "9"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "study.json has runs of 8 steps, not 9: use another --docs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "7"], "--steps is 7: at least 8 are needed"),
        (["--jobs", "0"], "--jobs is 0: at least one arm is trained at a time"),
        (["--report", "--docs", "."], "out has no study yet: leave --report out to train one"),
        (["--arms", "blip"], "invalid choice: 'blip'"),
    ],
)
def test_wrong_options(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study", "--output", "out", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_table(tmp_path, fitting, monkeypatch):
    study = Study(tmp_path, 8)
    train.train(study, ["llava", "deco"], [0, 1], jobs=4)
    (study.folder(1) / "llava.json").unlink()
    monkeypatch.setattr(table, "cost_of", lambda study, name: COST)
    arms = ["llava", "deco", "uhd"]
    written = table.section(table.rows_of(study, arms, [0, 1]), study.steps, arms, [0, 1])
    lines = written.splitlines()
    assert f"| LLaVA-1.5 | 64 | 163 | 921, 19 | 0.250 | 0.500 |  | {ARMS[BASELINE].claim} |" in lines
    # Only seed 0 has both.
    scores = "0.250 ± 0.000 | 0.625 ± 0.177 | +0.000"
    assert f"| averaging (DeCo) | 64 | 163 | 921, 19 | {scores} | {ARMS['deco'].claim} |" in lines
    assert "Not finished: LLaVA-1.5 (seed 1); LLaVA-UHD (seed 0, seed 1)." in lines
    page = table.with_section("# Study\n\nWhy.\n", written)
    assert page.startswith("# Study\n\nWhy.\n\n## Results\n")
    assert table.with_section(page, written) == page
    drawn = draw_chart(table.rows_of(study, DETAIL, [0, 1]), tmp_path / "study.png")
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_stopped_and_continued_as_typed(tmp_path):
    words = [sys.executable, "-m", "tools.study", "--output", str(tmp_path / "out")]
    words += ["--arms", "llava", "deco", "--seeds", "0", "--jobs", "2", "--docs", str(tmp_path)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    stopped = subprocess.Popen(
        [*words, "--steps", "60"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    seed = tmp_path / "out/seed-0"
    end = time.monotonic() + 300
    while not all((seed / name / "metrics.csv").exists() for name in ("llava", "deco")):
        assert time.monotonic() < end
        assert stopped.poll() is None
        time.sleep(0.1)
    stopped.send_signal(signal.SIGINT)
    assert stopped.communicate()[1] == "\nstopped; the same command goes on\n"
    assert stopped.returncode == 130
    assert all(list((seed / name / "states").glob("step-*")) for name in ("llava", "deco"))
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + (seed / "llava.log").read_text()
    assert all(Study(tmp_path / "out", 60).scores(0, name)[-1].step == 60 for name in ("llava", "deco"))
    (tmp_path / "study.md").write_text("# Study\n")
    subprocess.run([*words, "--report"], cwd=tmp_path, env=environment, check=True)
    assert "| averaging (DeCo) | 16 | 105 | 922, 19 |" in (tmp_path / "study.md").read_text()
    assert (tmp_path / "study.png").exists()
