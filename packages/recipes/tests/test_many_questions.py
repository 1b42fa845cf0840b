"""`predict --data`: many questions in batches, from files of every kind, stopped and completed."""

import json
import re
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import Sample, StretchToSquare, VisionLanguageModel, byte_tokenizer, llama, save
from recipes.answering.answers import in_batches
from recipes.answering.questions import Question, QuestionFile, Unusable
from recipes.command_line.options import predict_options
from recipes.commands import predict
from recipes.progress import live_line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model with such large random weights that its answers differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionLanguageModel(
            VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
            MlpProjector,
            llama(260, width=16, depth=2, heads=2, mlp_width=16, context=256),
            byte_tokenizer(),
            StretchToSquare(16),
            system="",
            max_length=200,
        )
        for weights in model.language_model.parameters():
            torch.nn.init.normal_(weights)
    return save(model, tmp_path_factory.mktemp("saved") / "checkpoint")


@pytest.fixture
def answers(checkpoint, tmp_path, monkeypatch):
    """Runs the command on the questions of a file; returns its exit code, and the answers by id."""
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("grey", (90, 90, 90))):
        Image.new("RGB", (20, 30), colour).save(tmp_path / f"{name}.png")

    def run(file, output, *words):
        options = ["--data", str(file), "--output", str(output), "--max_new_tokens=6", "--device=cpu", *words]
        monkeypatch.setattr(sys, "argv", ["predict", str(checkpoint), *options])
        code = 0
        try:
            predict.main(predict_options())
        except SystemExit as end:
            code = end.code
        return code, [json.loads(line) for line in output.read_text().splitlines()]

    return run


RECORDS = [
    {"image": "red.png", "question": "What colour is it?"},
    {"question": "Hi"},
    {"id": "two", "images": ["red.png", "blue.png"], "question": "<image> or <image>?"},
    {"image": "blue.png", "question": "And this one, which has a much longer question?"},
    {"image": "grey.png", "question": "?"},
]


def written(folder, records, name="asked.json"):
    (folder / name).write_text(json.dumps(records))
    return folder / name


@pytest.mark.parametrize("batch_size", [2, 8])
def test_answers_in_batches_are_those_of_one_at_a_time(answers, tmp_path, batch_size):
    file = written(tmp_path, RECORDS)
    one = answers(file, tmp_path / "one.jsonl", "--batch_size=1")
    assert one[0] == 0
    assert [each["id"] for each in one[1]] == ["1", "2", "two", "4", "5"]
    assert len({each["answer"] for each in one[1]}) > 2
    assert answers(file, tmp_path / "several.jsonl", f"--batch_size={batch_size}") == one


def test_stopped_and_started_again(answers, tmp_path, monkeypatch, capsys):
    file, whole, output = written(tmp_path, RECORDS), tmp_path / "whole.jsonl", tmp_path / "output.jsonl"
    answers(file, whole)
    asked, calls = predict.generate, []

    def interrupted(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return asked(*arguments, **settings)

    monkeypatch.setattr(predict, "generate", interrupted)
    code, found = answers(file, output, "--batch_size=2")
    assert (code, len(found)) == (130, 2)
    assert capsys.readouterr().err == "stopped: 2 of 5 questions are answered; the same command answers the others\n"
    with output.open("a") as stream:
        stream.write('{"id": "two", "ques')
    assert answers(file, output, "--batch_size=2")[0] == 0
    assert output.read_bytes() == whole.read_bytes()
    assert "output.jsonl: its last line was not written to its end; that question is asked" in capsys.readouterr().err


def test_progress(answers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(live_line, "BETWEEN_LINES", 0.0)
    answers(written(tmp_path, RECORDS), tmp_path / "output.jsonl", "--batch_size=2")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" · ")[0] for line in lines] == [f"answered {number}/5" for number in range(1, 6)]
    assert lines[-1].endswith("0:00 left")


TALK = {
    "id": "talk",
    "image": "red.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A wall."},
        {"from": "human", "value": "Which colour?"},
    ],
}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image", "image": "red.png"}, {"type": "text", "text": "This?"}]},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "image", "image": "blue.png"}]},
        {"role": "assistant", "content": "Blue."},
    ]
}


@pytest.mark.usefixtures("answers")
def test_conversations(tmp_path):
    found = QuestionFile(written(tmp_path, [TALK, MESSAGES]), None, Unusable()).read()
    assert [(each.key, each.text, each.pictures, len(each.turns)) for each in found] == [
        ("talk#1", "What is it?", ("red.png",), 1),
        ("talk#2", "Which colour?", ("red.png",), 3),
        ("2#1", "This?", ("red.png",), 2),
        ("2#2", "And", ("red.png", "blue.png"), 4),
    ]
    assert found[1].turns[1].text == "A wall."


def test_the_model_sees_what_was_said_before(answers, tmp_path, monkeypatch):
    asked, prompts = predict.generate, []

    def watched(model, batch, **settings):
        prompts.extend(model.processor.tokenizer.decode(ids[ids >= 0]) for ids in batch.input_ids)
        return asked(model, batch, **settings)

    monkeypatch.setattr(predict, "generate", watched)
    code, found = answers(written(tmp_path, [TALK]), tmp_path / "output.jsonl")
    assert (code, [each["id"] for each in found]) == (0, ["talk#1", "talk#2"])
    assert "A wall." not in prompts[0]
    assert re.search(r"What is it\?.*A wall\..*Which colour\?", prompts[1], flags=re.S)


def test_parquet(answers, tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    rows = [
        {"image": (tmp_path / name).read_bytes(), "question": "Which?", "answer": "unknown"}
        for name in ("red.png", "blue.png")
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "asked.parquet")
    files = [{"image": name, "question": "Which?"} for name in ("red.png", "blue.png")]
    from_parquet = answers(tmp_path / "asked.parquet", tmp_path / "parquet.jsonl")
    assert from_parquet[0] == 0
    assert from_parquet == answers(written(tmp_path, files), tmp_path / "json.jsonl")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"image": "red.png", "caption": "Red."}, 'expected an object with a text "question", or a conversation'),
        ({"conversations": [{"from": "gpt", "value": "Red."}]}, "must end with a turn of the"),
        ({"conversations": [{"from": "human", "value": "<image>?"}]}, "1 <image> in the text, 0 pictures"),
    ],
)
def test_no_questions(tmp_path, record, said):
    with pytest.raises(ValueError, match=said):
        QuestionFile(written(tmp_path, [record]), None, Unusable()).read()


QUESTIONS = [Question(str(number), "?", (), where=f"line {number}") for number in range(20)]


@given(
    number=st.integers(0, 20), batch_size=st.integers(1, 8), unread=st.sets(st.integers(0, 19)),
    refused=st.sets(st.integers(0, 19)), skips=st.booleans(),
)  # fmt: skip
def test_batches(number, batch_size, unread, refused, skips):
    """All questions before the first fault are answered, and, if faults are left out, all others, in order."""
    sizes = []

    def encode(question):
        if int(question.key) in unread:
            raise ValueError("unread")
        return question.key

    def generate(prompts: list[Sample]):
        sizes.append(len(prompts))
        if refused.intersection(map(int, prompts)):
            raise ValueError("refused")
        return [f"answer {prompt}" for prompt in prompts]

    unusable, found, said = Unusable(skips), [], ""
    bad = sorted(each for each in unread | refused if each < number)
    try:
        for question, text in in_batches(QUESTIONS[:number], encode, generate, unusable, batch_size=batch_size):
            assert text == f"answer {question.key}"
            found.append(int(question.key))
    except ValueError as error:
        said = str(error)
    assert (said == "") == (skips or not bad)
    assert said == "" or said.startswith(f"line {bad[0]}: ")
    end = number if skips or not bad else bad[0]
    assert found == [each for each in range(end) if each not in bad]
    assert unusable.number == (len(bad) if skips else 0)
    assert max(sizes, default=0) <= batch_size
