"""The explain command: figures, numbers, and what is refused."""

import json
from functools import partial

import pytest
import torch
from PIL import Image

from foveal.connectors import Chain, MlpProjector, PerceiverResampler, StridedPool
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, UhdPlan, VisionLanguageModel, byte_tokenizer, llama, save


def saved(folder, connector=MlpProjector, plan=None, *, blind=False):
    torch.manual_seed(0)
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 7, 28),
        connector,
        llama(260, width=32, depth=2, heads=2, mlp_width=16, context=600),
        byte_tokenizer(),
        plan or PadToSquare(28),
        system="",
        max_length=600,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    if blind:
        for layer in model.language_model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    return save(model, folder)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs the command in the test's own process and folder; returns its numbers."""
    from recipes.command_line.explain_options import explain_options
    from recipes.commands import explain

    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save("page.png")

    def run(checkpoint, *words):
        given = [str(checkpoint), "--image=page.png", "--question=What?", "--device=cpu", *words]
        monkeypatch.setattr("sys.argv", ["explain", *given])
        explain.main(explain_options())
        return json.loads((tmp_path / "explained/explain.json").read_text(encoding="utf-8"))

    return run


def test_figures_and_numbers(asked, tmp_path, capsys):
    resampler = partial(PerceiverResampler, queries=4, heads=2)
    numbers = asked(
        saved(tmp_path / "model", resampler, UhdPlan(28, 7, 4)), "--answer=5 $ each", "--box", *["0", "0", "30", "20"]
    )
    assert (numbers["answer"], numbers["connector"], numbers["by_rules"]) == ("5 $ each", "PerceiverResampler", True)
    assert [word["word"] for word in numbers["words"]] == ["5", "$", "each"]
    assert numbers["box_area"] == pytest.approx(0.25)
    for each in (numbers["whole_answer"], *numbers["words"]):
        assert 0 < each["in_box"] < 1
        assert 0 < each["peak"]["x"] < 60
        assert [len(tokens) for tokens in each["text_to_query"]] == [4] * len(numbers["query_to_patch"])
    assert {each["tokens"] for each in numbers["query_to_patch"]} == {4}
    for name in ("answer", "words", "tokens", "queries"):
        with Image.open(tmp_path / f"explained/{name}.png") as drawn:
            assert min(drawn.size) > 100
    said = capsys.readouterr().out
    assert "the box is 25.0% of the picture" in said
    assert "through the PerceiverResampler: by its rule" in said


def test_a_connector_without_a_rule_is_named(asked, tmp_path, capsys):
    pooled = partial(Chain, stages=[partial(StridedPool, mode="max")], last=MlpProjector)
    numbers = asked(saved(tmp_path / "model", pooled), "--answer=A", "--each=token")
    assert not numbers["by_rules"]
    assert "through the Chain of StridedPool, MlpProjector: by gradients" in capsys.readouterr().out


def test_tokens_that_are_patches_need_no_sheet(asked, tmp_path, capsys):
    asked(saved(tmp_path / "model"), "--max_new_tokens=4")
    assert sorted(path.name for path in (tmp_path / "explained").iterdir()) == [
        "answer.png",
        "explain.json",
        "words.png",
    ]
    assert "tokens.png" not in capsys.readouterr().out


def test_a_model_that_does_not_look_is_said_to(asked, tmp_path, capsys):
    numbers = asked(saved(tmp_path / "model", blind=True), "--answer=12", "--box", "0", "0", "9", "9")
    assert numbers["whole_answer"] == {"relevance": 0, "peak": None, "in_box": 0, "text_to_query": [[0] * 16]}
    assert "the answer does not depend on it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--question=What?"], "give --image and --question"),
        (["--image=a.png"], "give --image and --question"),
        (["--image=a.png", "--question=What?", "--box", "9", "0", "3", "5"], "--box takes four numbers"),
        (["--image", "a.png", "b.png", "--question=What?", "--box", "0", "0", "3", "5"], "and one --image"),
        (["--image=a.png", "--question=What?", "--max_new_tokens=0"], "it must be at least 1"),
        (["--image=a.png", "--question=What?", "--each=line"], "invalid choice"),
    ],
)
def test_wrong_usage_is_refused(words, said, monkeypatch, capsys):
    from recipes.command_line.explain_options import explain_options

    monkeypatch.setattr("sys.argv", ["explain", "model", *words])
    with pytest.raises(SystemExit) as end:
        explain_options()
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_as_typed(command, tmp_path):
    saved(tmp_path / "model")
    Image.linear_gradient("L").resize((60, 40)).convert("RGB").save(tmp_path / "page.png")
    asked = ("--question", "What is the total?", "--answer", "12", "--each", "token", "--box", 0, 0, 9, 9)
    done = command("explain", "--checkpoint", "model", "--image", "page.png", *asked, "--output", "other")
    assert done.stderr == ""
    assert done.stdout.startswith("answer: 12\n")
    assert "drawn: other/answer.png, other/words.png, other/explain.json" in done.stdout
    refused = command("explain", "model", "--image", "none.png", "--question", "What?", code=1)
    assert refused.stderr.startswith("error: none.png: there is no such file\n")
