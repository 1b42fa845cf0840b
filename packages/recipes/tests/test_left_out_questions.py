"""Questions that cannot be answered: `predict --data` names them, and goes on if wished."""

import json
import re
import sys

import pytest
from PIL import Image

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama, save
from recipes.command_line.options import predict_options
from recipes.commands.predict import main

LONG = "word " * 1_000_000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        llama(260, width=16, depth=1, heads=2, mlp_width=16, context=256),
        byte_tokenizer(),
        PadToSquare(16),
        system="",
        max_length=200,
    )
    return save(model, tmp_path_factory.mktemp("saved") / "checkpoint")


@pytest.fixture
def predict(checkpoint, tmp_path, monkeypatch, capsys):
    """Runs the command in a folder with three pictures; returns its exit code, its ids and standard error."""
    Image.linear_gradient("L").save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    # The header is whole: the damage shows when the pixels are decoded.
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    (tmp_path / "damaged.png").write_bytes(damaged)
    (tmp_path / "no.png").write_bytes(b"no picture")
    output = tmp_path / "answers.jsonl"

    def run(records, *words):
        (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, records)))
        asked = ["--data", str(tmp_path / "asked.jsonl"), "--output", str(output), "--max_new_tokens=2", *words]
        monkeypatch.setattr(sys, "argv", ["predict", "--checkpoint", str(checkpoint), "--device=cpu", *asked])
        code = 0
        try:
            main(predict_options())
        except SystemExit as end:
            code = end.code
        answered = [json.loads(line)["id"] for line in output.read_text().splitlines()] if output.exists() else []
        return code, answered, capsys.readouterr().err

    return run


GOOD = {"id": "good", "image": "good.png", "question": "What?"}
BAD = [
    ({"image": "damaged.png", "question": "What?"}, "line 2: .*damaged.png: damaged or truncated"),
    ({"image": "no.png", "question": "What?"}, "line 2, image: .*no.png: not a picture"),
    ({"image": "none.png", "question": "What?"}, "line 2, image: there is no file .*none.png"),
    ({"question": LONG}, r"line 2: the sample has 5,000,0\d\d characters, more than 200 tokens can have"),
    ({"question": "\ud800"}, "line 2, question: the text has half a character"),
    ({"question": "a\0"}, "line 2, question: the text has a NUL"),
    ({"question": 3}, 'line 2: expected an object with a text "question"'),
    ({"id": "\ud800", "question": "What?"}, "line 2, id: the text has half a character"),
    ({"question": "<image>"}, "line 2: 1 <image> in the text, 0 pictures"),
]


@pytest.mark.parametrize(("record", "message"), BAD)
def test_the_first_ends_the_command(predict, record, message):
    code, answered, said = predict([GOOD, record, {**GOOD, "id": "last"}])
    assert code == 1
    assert answered in ([], ["good"])
    assert re.search(message.replace("line 2", r"asked\.jsonl, line 2"), said)
    assert len(said.splitlines()) <= 4
    assert len(said) < 1000


def test_they_are_left_out_if_wished(predict):
    records = [GOOD, *(record for record, _ in BAD), {**GOOD, "id": "last"}]
    code, answered, said = predict(records, "--on_bad_sample=skip")
    assert (code, answered) == (1, ["good", "last"])
    left_out = [line for line in said.splitlines() if line.startswith("left out: ")]
    assert len(left_out) == len(BAD)
    assert said.splitlines()[-1].startswith(f"left out {len(BAD)} of {len(records)} questions of ")
    # A second start tries them once more, and answers nothing twice.
    code, answered, _ = predict(records, "--on_bad_sample=skip")
    assert (code, answered) == (1, ["good", "last"])


def test_a_second_start_goes_on_after_the_question_is_mended(predict):
    broken, mended = [GOOD, {**GOOD, "image": "damaged.png", "id": "b"}], [GOOD, {**GOOD, "id": "b"}]
    assert predict(broken)[:2] == (1, ["good"])
    assert predict(mended) == (0, ["good", "b"], "")
    code, answered, said = predict(mended)
    assert (code, answered) == (0, ["good", "b"])
    assert "has all answers already" in said


def test_nothing_is_left(predict):
    code, answered, said = predict([BAD[1][0]], "--on_bad_sample=skip")
    assert (code, answered) == (1, [])
    assert "left out 1 of 1 questions" in said
