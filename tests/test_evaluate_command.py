"""The evaluate command, as it is typed: alone, on two ranks, killed and started again, and what it refuses."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tests.receipts import drawn
from torch import nn

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan, VisionLanguageModel, byte_tokenizer, llama, load, save
from recipes.metrics import ANLS


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(5)
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        MlpProjector,
        llama(260, width=32, depth=2, heads=2, mlp_width=48, context=600),
        byte_tokenizer(),
        UhdPlan(28, 7, 4),
        system="",
        max_length=500,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    save(model, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    """DocVQA's files: three questions on each of four pictures, not one after the other."""
    (tmp_path / "docvqa" / "documents").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 255, (30 + 10 * number, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "docvqa" / "documents" / f"{number}.png")
    rows = [
        {
            "questionId": number,
            "question": f"What is number {number}?",
            "image": f"documents/{number % 4}.png",
            "answers": ["seven", "7"],
            "data_split": "val",
        }
        for number in range(12)
    ]
    (tmp_path / "docvqa" / "val_v1.0.json").write_text(json.dumps({"data": rows}))
    return tmp_path / "docvqa"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


TYPED = ("--benchmark", "docvqa", "--data", "docvqa", "--max_new_tokens", "5", "--batch_size", "3")


@pytest.fixture
def annotated(tmp_path):
    """Drawn receipts with their fields and the boxes of their lines."""
    rng, rows = random.Random(0), []
    (tmp_path / "receipts" / "images").mkdir(parents=True)
    for number in range(3):
        image, texts, total = drawn(rng)
        image.save(tmp_path / "receipts" / "images" / f"{number}.jpg")
        placed = [
            {"box": [10, 10 + 40 * place, 140, 30 + 40 * place], "text": text} for place, text in enumerate(texts)
        ]
        fields = {"company": texts[0], "total": total}
        rows.append({"id": f"r{number}", "image": f"images/{number}.jpg", "key": fields, "lines": placed})
    (tmp_path / "receipts" / "val_annotations.json").write_text(json.dumps(rows))


@pytest.mark.slow
def test_built_in_benchmarks(command, checkpoint, annotated, tmp_path):
    typed = ("--max_new_tokens", "5", "--explain", "2")
    command("evaluate", "model", "--benchmark", "pages", "--limit", "3", *typed)
    command("evaluate", "model", "--benchmark", "receipts", "--data", "receipts", *typed)
    for name, metrics in (("pages", {"ANLS"}), ("receipts", {"f1", "tree_accuracy"})):
        folder = tmp_path / "evaluations" / name
        scores = json.loads((folder / "scores.json").read_text())
        assert (set(scores["scores"]), scores["items"], scores["missing"]) == (metrics, 3, 0)
        # Three pictures, and two of them with what the model looked at.
        assert (folder / "report.html").read_text().count('id="picture-') >= 5
        explained = json.loads((folder / "explained.json").read_text())
        assert len(explained["items"]) == 2
        for numbers in (explained["mean"], *explained["items"].values()):
            assert numbers["effective_queries"] >= 1
            # The pages do not say where their answers stand.
            assert ("in_boxes" in numbers) == (name == "receipts")
            assert name == "pages" or 0 < numbers["boxes_area"] < 0.5


@pytest.mark.slow
def test_as_typed(command, checkpoint, data, tmp_path):
    done = command("evaluate", "model", *TYPED)
    assert done.stderr == "docvqa holds 12 questions, the whole benchmark has 5349\n"
    assert done.stdout.startswith("docvqa, val: 12 questions\n")
    folder = tmp_path / "evaluations" / "docvqa"
    predictions = lines(folder / "predictions.jsonl")
    assert [row["id"] for row in predictions] == [str(number) for number in range(12)]
    model = load(checkpoint)
    from foveal.models import answer

    for row in predictions[:5]:
        prompt = row["question"] + "\nAnswer the question using a single word or phrase."
        assert row["answer"] == answer(model, data / "documents" / row["pictures"][0], prompt, max_new_tokens=5)
    metric = ANLS()
    metric.update([row["answer"] for row in predictions], [row["answers"] for row in predictions])
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["scores"] == {"ANLS": float(metric.compute())}
    assert (scores["items"], scores["missing"], scores["unparsed"]) == (12, 0, 0)
    assert scores["settings"]["prompts"] == "llava"

    before = (folder / "predictions.jsonl").read_bytes()
    assert command("evaluate", "--checkpoint", "model", *TYPED).stdout == done.stdout
    assert (folder / "predictions.jsonl").read_bytes() == before
    given = command("evaluate", *TYPED, "--answers", folder / "answers_llava.jsonl", "--output", "again")
    assert json.loads((tmp_path / "again" / "scores.json").read_text())["scores"] == scores["scores"]
    assert "in LLaVA's format: again/answers_llava.jsonl" in given.stdout

    other = command("evaluate", "model", *TYPED, "--prompts", "lmms_eval", code=1)
    assert "\nerror: evaluations/docvqa holds answers to other settings: prompts" in other.stderr
    few = command("evaluate", "model", *TYPED, "--limit", "2", "--explain", "1", "--output", "few")
    pictures = [(tmp_path / name / "report.html").read_text().count('id="picture-') for name in ("few", "again")]
    assert pictures == [3, 4]
    assert few.stdout.startswith("docvqa, val: 2 questions\n")
    (data / "documents" / "1.png").write_bytes(b"no picture")
    damaged = command("evaluate", "model", *TYPED, "--output", "damaged", code=1)
    assert "\nerror: docvqa/val_v1.0.json, data 2" in damaged.stderr
    skipped = command("evaluate", "model", *TYPED, "--output", "damaged", "--on_bad_sample", "skip", code=1)
    assert skipped.stderr.count("left out: docvqa/val_v1.0.json") == 3
    assert json.loads((tmp_path / "damaged" / "scores.json").read_text())["missing"] == 3


def run(tmp_path, *words):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_ranks_and_a_kill_answer_as_one_process(command, checkpoint, data, tmp_path):
    command("evaluate", "model", *TYPED)
    expected = (tmp_path / "evaluations" / "docvqa" / "predictions.jsonl").read_bytes()
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "recipes.evaluate", "model")
    both = run(tmp_path, *launch, *TYPED, "--output", "two")
    _, said = both.communicate(timeout=300)
    assert both.returncode == 0, said
    assert said.count("docvqa holds 12 questions") == 1
    assert (tmp_path / "two" / "predictions.jsonl").read_bytes() == expected
    parts = [lines(tmp_path / "two" / f"answers-{rank}.jsonl") for rank in (0, 1)]
    assert sorted(map(len, parts)) == [6, 6]

    killed = run(tmp_path, "-m", "recipes.evaluate", "model", *TYPED, "--batch_size=1", "--output", "killed")
    part = tmp_path / "killed" / "answers-0.jsonl"
    while not (part.exists() and part.read_bytes().count(b"\n") >= 2):
        assert killed.poll() is None
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert 2 <= part.read_bytes().count(b"\n") <= 12
    command("evaluate", "model", *TYPED, "--output", "killed")
    assert (tmp_path / "killed" / "predictions.jsonl").read_bytes() == expected
    assert len(lines(part)) == 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "docvqa"], "error: give the model, as the first argument or with --checkpoint"),
        (
            ["--benchmark", "docvqua"],
            "error: --benchmark docvqua: there is none of that name; did you mean docvqa? There are activitynet_qa",
        ),
        (["m", "--benchmark", "docvqa", "--limit", "0"], "error: --limit is 0: it must be at least 1"),
        (["m", "--benchmark", "docvqa", "--explain", "-1"], "error: --explain is -1: it must be at least 0"),
        (["m", "--benchmark", "docvqa", "--answers", "a"], "error: --answers are scored without a model"),
    ],
)
def test_wrong_usage(words, said, monkeypatch, capsys):
    from recipes.command_line.evaluate_options import evaluate_options

    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises(SystemExit) as stopped:
        evaluate_options()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(said)


def test_help_says_whose_length_holds(monkeypatch, capsys):
    from recipes.command_line.evaluate_options import evaluate_options

    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit):
        evaluate_options()
    assert "longest answer, in tokens (default: the benchmark's)" in " ".join(capsys.readouterr().out.split())
