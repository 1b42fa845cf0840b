"""The evaluate command on videos: a model that keeps a video whole, and one for which every frame is a picture."""

import json
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector, SpaceTimePool
from foveal.core import Size
from foveal.encoders import FrameEncoder, VisionTransformer
from foveal.models import (
    CropToSquare,
    OneVisionMerge,
    OneVisionPlan,
    Turn,
    Video,
    VideoPlan,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    llama,
    load,
    save,
)
from foveal.models.estimates.cost import prompt_tokens
from foveal.models.estimates.memory import answering
from recipes.command_line.evaluate_options import evaluate_options
from recipes.commands import evaluate
from recipes.estimates.room import check_room_to_answer
from recipes.evaluation.frames import frames_of

av = pytest.importorskip("av")

LENGTHS = 11, 3
"""Frames of two videos: more than either model looks at, and fewer."""


def tower():
    return VisionTransformer(16, 2, 2, 24, 7, 28)


def whole():
    return (
        FrameEncoder(tower(), frames=4),
        partial(SpaceTimePool, slots=2, rows=2, columns=2),
        VideoPlan(CropToSquare(28), frames=4),
        None,
    )


def frame_by_frame():
    return tower(), MlpProjector, OneVisionPlan(28), OneVisionMerge


def saved(parts, folder):
    torch.manual_seed(5)
    encoder, connector, plan, merge = parts
    model = VisionLanguageModel(
        encoder,
        connector,
        llama(260, width=32, depth=2, heads=2, mlp_width=48, context=900),
        byte_tokenizer(),
        plan,
        merge=merge,
        system="",
        max_length=800,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    save(model, folder)


@pytest.fixture
def data(tmp_path):
    """EgoSchema's files: six questions, each with its own file, in which is one of two videos."""
    folder = tmp_path / "egoschema"
    (folder / "videos").mkdir(parents=True)
    random = np.random.default_rng(0)
    questions = []
    for number in range(6):
        write(folder / "videos" / f"{number}.mp4", number % 2)
        options = {f"option {each}": f"text {random.integers(9)}" for each in range(5)}
        questions.append({"q_uid": str(number), "question": f"What is number {number}?"} | options)
    (folder / "questions.json").write_text(json.dumps(questions))
    (folder / "subset_answers.json").write_text(json.dumps({str(number): number % 5 for number in range(6)}))
    return folder


def write(path, video):
    random = np.random.default_rng(video)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(LENGTHS[video]):
            shades = random.integers(0, 255, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shades, format="rgb24")))
        container.mux(stream.encode())


TYPED = ("--benchmark", "egoschema", "--data", "egoschema", "--max_new_tokens", "5")


def answered(tmp_path, name):
    rows = (tmp_path / name / "predictions.jsonl").read_text().splitlines()
    return {row["id"]: row["answer"] for row in map(json.loads, rows)}


def prompts(tmp_path, name):
    """What was asked, by the id of the question."""
    rows = (tmp_path / name / "answers-0.jsonl").read_text().splitlines()
    return {row["id"]: row["prompt"] for row in map(json.loads, rows)}


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "frames"), [(whole, 4), (frame_by_frame, 8)])
def test_as_typed(command, data, tmp_path, parts, frames):
    saved(parts(), tmp_path / "model")
    command("evaluate", "model", *TYPED, "--output", "one", "--batch_size", "4")
    command("evaluate", "model", *TYPED, "--output", "two", "--batch_size", "1", "--frames", frames)
    found = answered(tmp_path, "one")
    assert found == answered(tmp_path, "two")
    assert len(set(found.values())) > 2
    rows = map(json.loads, (tmp_path / "one" / "predictions.jsonl").read_text().splitlines())
    assert {row["id"]: row["video"] for row in rows} == {key: f"videos/{key}.mp4" for key in found}
    assert json.loads((tmp_path / "one" / "settings.json").read_text())["frames"] == frames
    model = load(tmp_path / "model")
    for key, prompt in prompts(tmp_path, "one").items():
        shown = frames_of(data / "videos" / f"{key}.mp4", frames)
        assert len(shown) == min(frames, LENGTHS[int(key) % 2])
        assert found[key] == answer(model, Video(shown), prompt, max_new_tokens=5)


@pytest.mark.slow
def test_another_number_of_frames_is_refused(command, data, tmp_path):
    saved(whole(), tmp_path / "model")
    done = command("evaluate", "model", *TYPED, "--frames", "8", code=1)
    assert "error: --frames is 8, but the model was made for 4 frames of a video: leave --frames out\n" in done.stderr
    assert not (tmp_path / "evaluations" / "egoschema" / "answers-0.jsonl").exists()


def test_a_missing_video_is_told_before_anything_is_asked(data, tmp_path, monkeypatch, capsys):
    (data / "videos" / "4.mp4").unlink()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["evaluate", "model", *TYPED, "--output=out"])
    with pytest.raises(SystemExit):
        evaluate.main(evaluate_options())
    assert "record 5: its video is missing: egoschema/videos/4.mp4" in capsys.readouterr().err


@pytest.mark.parametrize("parts", [whole, frame_by_frame])
def test_the_memory_of_a_question_about_a_video(tmp_path, parts):
    """What a GPU must have free before a video is asked about: as for the sample that is made of its frames."""
    saved(parts(), tmp_path / "model")
    with torch.device("meta"):
        model = load(tmp_path / "model")
    frames, question = 6, "<image>\nWhat happens?"
    sample = model.processor.encode_prompt([Video([Image.new("RGB", (64, 48))] * frames)], [Turn("user", question)])
    text = len(sample.input_ids) - sum(prompt_tokens(model, sample.sizes))
    needs = answering(model, sample.sizes, text=text, new_tokens=8).total
    video = [Size(64, 48)] * frames
    check_room_to_answer(tmp_path / "model", [video], question, new_tokens=8, free=needs)
    with pytest.raises(ValueError, match=r"answering with .*model needs 0\.0\d GB"):
        check_room_to_answer(tmp_path / "model", [video], question, new_tokens=8, free=needs - 1)


@pytest.mark.parametrize("damaged", ["nothing", "first", "all", "missing"])
def test_as_with_a_gpu(data, tmp_path, monkeypatch, damaged):
    """Where free memory is known, there must be enough for the first question that can be asked."""
    saved(whole(), tmp_path / "model")
    bad = {"nothing": 0, "first": 1, "all": 6, "missing": 1}[damaged]
    for number in range(bad):
        video = data / "videos" / f"{number}.mp4"
        video.unlink() if damaged == "missing" else video.write_bytes(b"no video")
    judged = []
    monkeypatch.setattr("recipes.answering.model.free_bytes", lambda _: judged.append(True) or 10**12)
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "model", *TYPED, "--device=cpu", "--output=out", "--on_bad_sample=skip", "--limit=6"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) if bad else nullcontext() as stopped:
        evaluate.main(evaluate_options())
    assert bad == 0 or stopped.value.code == 1
    assert judged == [True]
    assert list(answered(tmp_path, "out").values()).count(None) == bad
