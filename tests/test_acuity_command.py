"""The acuity command: runs, checkpoints without one, and models of transformers, side by side; what is refused."""

import json
import sys

import pytest
import yaml
from PIL import Image
from tests.foreign_folder import TOKENS, save_foreign
from tests.test_chat import parrot

from foveal.core import Size
from foveal.models import save
from recipes import acuity as entry
from recipes.acuity_chart.foreign import ForeignReader
from recipes.commands import acuity

SMALL = ("--alphabet=ab", "--sizes", "48x24", "--heights", "8", "6", "--pages=6", "--max_new_tokens=5", "--device=cpu")
"""A parrot answers "a a a" then, which is half right."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a parrot, a run of one, and a model that only transformers opens."""
    folder = tmp_path_factory.mktemp("models")
    save(parrot(), folder / "parrot")
    save(parrot(), folder / "run" / "checkpoint")
    pages = {"settings": {"sizes": [[48, 24]], "font_sizes": [9, 10], "digits": [1, 3]}}
    data = {"class_path": "recipes.data.PagesData", "init_args": pages}
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump({"model": {}, "trainer": {}, "data": data}))
    save_foreign(folder / "idefics")
    return folder


@pytest.fixture
def chart(models, tmp_path, monkeypatch, capsys):
    """Runs the command in this process; returns its exit code, output, errors and numbers."""

    def run(*words):
        monkeypatch.chdir(models)
        monkeypatch.setattr(acuity, "calm", lambda: None)
        monkeypatch.setattr(sys, "argv", ["acuity", *words, "--output", str(tmp_path / "out")])
        code = 0
        try:
            entry.main()
        except SystemExit as end:
            code = end.code
        shown, numbers = capsys.readouterr(), tmp_path / "out" / "acuity.json"
        # Without `calm`, libraries draw their bars.
        _, error, message = shown.err.rpartition("error: ")
        return code, shown.out, error and error + message, json.loads(numbers.read_text()) if numbers.exists() else None

    return run


def test_a_model_alone(chart, tmp_path):
    code, output, errors, numbers = chart("parrot", *SMALL, "--question", "What?", "--seed=4")
    assert (code, errors) == (0, "")
    assert output.startswith("parrot: opened by foveal.models.load\n  alphabet ab, question 'What?' (given)\n")
    assert "parrot reads 50% " in output
    (model,) = numbers["models"]
    assert [tally["shown"] for tally in model["by_height"]] == [18, 18]
    answers = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 12
    assert {answer["answer"] for answer in answers} == {"a a a"}
    assert model["by_size"]["48x24"]["visual_tokens"] == 1
    assert numbers["fonts"] == ["aileron", "dejavu-sans", "dejavu-sans-bold", "dejavu-serif", "dejavu-mono"]
    with Image.open(tmp_path / "out" / "acuity.png") as drawn:
        assert drawn.width == 1000


def test_a_run_says_what_it_was_trained_on(chart, tmp_path):
    code, output, errors, numbers = chart("run", "--pages=4", "--device=cpu")
    assert code == 1
    assert (
        "run: opened by foveal.models.load\n  alphabet 0123456789, question 'Read.' (trained on them, says " in output
    )
    assert {name: numbers[name] for name in ("heights", "sizes", "fonts", "contrasts")} == {
        "heights": [7.0, 6.0, 5.0, 4.0, 3.0],
        "sizes": ["48x24"],
        "fonts": ["aileron"],
        "contrasts": [1.0],
    }
    assert errors.startswith(
        "error: not charted, since less than 50% of the largest characters (7 pixels) were read: run 0%\n"
    )
    assert len(errors.splitlines()) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["acuity.json", "answers.jsonl"]


def test_a_model_of_transformers_beside_one_of_ours(chart, tmp_path):
    code, output, errors, numbers = chart("idefics", "--checkpoint", "parrot", "--seed=4", *SMALL, "--batch_size=4")
    assert code == 1
    assert (
        "idefics: opened by transformers as Idefics3ForConditionalGeneration, since foveal.models.load does not"
        in output
    )
    assert "question 'What is written in this picture? Answer with its characters only.'" in output
    assert "question 'Read.'" in output
    ours, theirs = numbers["models"][1], numbers["models"][0]
    assert (ours["charted"], theirs["charted"]) == (True, False)
    assert theirs["by_size"]["48x24"]["visual_tokens"] == TOKENS
    assert theirs["by_place"][0]["seams"] is None
    assert "were read: idefics " in errors
    assert (tmp_path / "out" / "acuity.png").exists()


def test_refused(chart, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for words, code, said in (
        ((), 2, "error: give a model: a folder, a run, or a hub name"),
        (("parrot", "parrot"), 2, "error: parrot is given twice"),
        (("parrot", "--pages=0"), 2, "error: --pages, --batch_size, --max_new_tokens and --characters must be at "),
        (("parrot", "--heights", "0.5"), 2, "error: --heights: 0.5 is not between 1 and 1000 pixels"),
        (("parrot", "--sizes", "48"), 2, "error: --sizes: '48' is not WIDTHxHEIGHT in pixels"),
        (("parrot", "--sizes", "48x0"), 2, "error: --sizes: 48x0 has a side that is not 1 to 10000 pixels"),
        (("parrot", "--pages", "9" * 12), 2, "error: at most 100000 --pages of 1000 --characters"),
        (("parrot", "--alphabet", ""), 2, "error: --alphabet is empty: give the characters to print"),
        (("parrot", "--alphabet", "a"), 1, "error: the alphabet 'a' needs at least two characters"),
        (("parrot", "--sizes", "20x20"), 1, "error: 3 characters of 48 pixels do not fit on a page of 20x20 pixels"),
        (("nowhere",), 1, "error: there is no folder nowhere"),
        (("parrot", "--device=cuda"), 1, "error: --device cuda: there is no GPU that torch can use"),
    ):
        found, _, errors, numbers = chart(*words)
        assert (found, numbers) == (code, None)
        assert errors.startswith(said)
        assert len(errors.splitlines()) <= 4


def test_a_foreign_model_is_never_completed_with_random_weights(chart, models, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_foreign(tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    del weights["model.connector.modality_projection.proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    code, _, errors, numbers = chart(str(folder), *SMALL)
    assert (code, numbers) == (1, None)
    assert "1 weights are missing or of another shape, such as model.connector.modality_projection.proj" in errors


def test_without_a_chat_template_the_question_follows_the_picture(tmp_path):
    reader = ForeignReader(save_foreign(tmp_path / "plain", chat_template=None), "cpu")
    pages = [Image.new("RGB", (48, 24), colour) for colour in ("white", "black")]
    answers = reader.answers(pages, "Read.", max_new_tokens=4)
    assert len(answers) == 2
    assert answers == [reader.answers([page], "Read.", max_new_tokens=4)[0] for page in pages]
    assert reader.tokens(Size(48, 24)) == TOKENS


@pytest.mark.slow
def test_as_typed(command, models, tmp_path):
    done = command("acuity", "--checkpoint", models / "parrot", "--output", "chart", "--seed=4", *SMALL)
    assert done.stderr == ""
    assert done.stdout.endswith("numbers: chart/acuity.json\nchart: chart/acuity.png\n")
    helped = command("acuity", "--help")
    assert "python -m recipes.acuity CHECKPOINT [CHECKPOINT ...] --output FOLDER" in helped.stdout
