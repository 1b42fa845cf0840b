"""lmms-eval itself runs the task of docs/lmms_eval.md with our plug-in, in an environment of its own.

`recipes.evaluate` gives the same answers and the same score.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import pytest
import torch

from foveal.connectors import SpatialResampler
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan, VisionLanguageModel, answer, byte_tokenizer, llama, save
from recipes.metrics import ANLS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/lmms_eval.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# ([\w/.]+)(?:: .*?)?\n(.*?)^```$", PAGE, flags=re.S | re.M))
(COMMAND,) = re.findall(r"^    HF_HUB_OFFLINE=1 python (-m lmms_eval .*\n.*)$", PAGE, flags=re.M)
(EVALUATE,) = re.findall(r"^    uv run python (-m recipes.evaluate .*)$", PAGE, flags=re.M)
CHECKPOINT = "runs/uhd/version_0/checkpoint"
ENVIRONMENT = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")]


@pytest.fixture(scope="module")
def python():
    """The Python of an environment with lmms-eval and our wheels, which is removed afterwards."""
    pinned = re.findall(r'"((?:torch|transformers)==.+?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    with TemporaryDirectory(prefix="foveal-lmms-eval-") as folder:
        wheels, found = Path(folder) / "wheels", Path(folder) / "environment/bin/python"
        for package in ("core", "encoders", "connectors", "models", "lmms-eval"):
            uv("build", "--wheel", "--package", f"foveal-{package}", "--out-dir", wheels)
        # From outside of the workspace, whose pins lmms-eval cannot keep.
        install = ("pip", "install", "--python", found, "--directory", folder)
        uv("venv", "--python", sys.executable, found.parents[1])
        try:
            uv(*install, "lmms_eval==0.7.3", "filelock<4", *pinned)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"lmms-eval cannot be installed here: {' '.join(error.stderr.split())[:500]}")
        uv(*install, "--no-deps", *wheels.glob("*.whl"))
        yield found


def uv(command, *words):
    subprocess.run(["uv", command, "--quiet", *words], cwd=ROOT, check=True, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def questions(receipts, tmp_path, monkeypatch):
    """The folder of the page: checkpoint, task, and questions whose answers the model gives in part."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = VisionLanguageModel(
        VisionTransformer(32, 2, 2, 64, 8, 32, layers=(-1,)),
        lambda in_width, out_width: SpatialResampler(in_width, out_width, queries=4, heads=2),
        llama(300, width=32, depth=2, heads=2, mlp_width=64, context=600),
        byte_tokenizer(),
        UhdPlan(32, 8),
        max_length=500,
    )
    for weights in model.language_model.parameters():
        torch.nn.init.normal_(weights)
    save(model, CHECKPOINT)
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    rows = []
    for number, picture in enumerate(sorted((receipts / "images").glob("val_*.jpg"))):
        for question in ("What is the total?", "Which shop is it from?", "Read."):
            said = answer(model, picture, question, max_new_tokens=16)
            accepted = [said, said[:-number] + "x" * number, "something else"][number % 3 :]
            rows.append({"image": f"receipts/images/{picture.name}", "question": question, "answers": accepted})
    rows = rows[:11]
    Path("receipts/test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return rows


def run(python, output, *words):
    """What lmms-eval writes into a folder: results, and samples by document. Its exit status says nothing."""
    done = subprocess.run([python, *words], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    files = {path.name.split("_")[2]: path.read_text(encoding="utf-8") for path in Path(output).glob("*_*_*")}
    assert {"results.json", "samples"} <= files.keys(), done.stdout[-3000:] + done.stderr[-3000:]
    samples = sorted(map(json.loads, files["samples"].splitlines()), key=lambda line: line["doc_id"])
    return json.loads(files["results.json"]), samples


def test_the_task_of_the_page(python, questions, monkeypatch):
    monkeypatch.setitem(ENVIRONMENT, "HF_HOME", str(Path("hub").absolute()))
    code = "from lmms_eval.models import list_available_models as names; print(names())"
    assert "'foveal'" in subprocess.check_output([python, "-c", code], env=ENVIRONMENT, text=True)
    subprocess.run([sys.executable, *shlex.split(EVALUATE)], env=ENVIRONMENT, check=True)
    score = json.loads(Path("evaluations/receipts/scores.json").read_text(encoding="utf-8"))["scores"]["ANLS"]
    lines = Path("evaluations/receipts/predictions.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line)["answer"] for line in lines]
    single = [ANLS().score(said, row["answers"]) for said, row in zip(expected, questions, strict=True)]
    # Metrics return float32.
    assert score == pytest.approx(fmean(single), abs=1e-7)
    assert 0.1 < score < 0.9
    words = [*shlex.split(COMMAND.replace("\\\n", "")), "--log_samples"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    shared = [*torchrun, *(word.replace("results", "shared") for word in words)]
    # Of eleven questions, the second process has five, and a copy of its last one.
    for output, command in (("results", words), ("shared", shared)):
        results, samples = run(python, output, *command)
        assert results["config"]["model_backend"] == "foveal.lmms_eval.model.Foveal (chat)"
        assert results["results"]["foveal_receipts"]["anls,none"] == pytest.approx(fmean(single), abs=1e-9)
        assert [sample["filtered_resps"] for sample in samples] == expected
        assert all(0 < sample["token_counts"][0]["output_tokens"] <= 16 for sample in samples)
