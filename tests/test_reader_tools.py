"""`tools.reader`: what is measured of the small reader, and how it comes into its package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.conftest import TINY
from tests.receipts import receipts
from tools.reader import measure, show
from tools.reader import pack as packing
from tools.reader.measure import LENGTHS, SIZES, Fonts, of_kind, of_length, tables, written
from tools.reader.receipts import lines_of, table

from foveal.connectors import PatchMerger
from foveal.encoders import MoonViT
from foveal.models import UhdPlan, VisionLanguageModel, byte_tokenizer, load, qwen3, save
from recipes.data.printed.fonts import BUILT_IN
from recipes.data.printed.texts import KINDS

__all__ = ["receipts"]
ROOT = Path(__file__).parents[1]
FONTS = Fonts((BUILT_IN,), (BUILT_IN,))


@pytest.fixture(scope="module")
def tiny():
    """The parts of reader.yaml at a small size."""
    torch.manual_seed(0)
    return VisionLanguageModel(
        MoonViT(16, 1, 2, 32, 8, 96),
        PatchMerger,
        qwen3(260, width=16, depth=1, heads=2, mlp_width=32),
        byte_tokenizer(),
        UhdPlan(96, 16, 12),
    )


def text_of(page):
    return page.turns[1].text


def rows_of(text):
    return [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")]


def test_a_reader_without_an_error_and_a_blind_one():
    right = rows_of(tables(lambda pages: [text_of(page) for page in pages], FONTS, 2))
    blind = rows_of(tables(lambda pages: ["" for _ in pages], FONTS, 2))
    heads = [row for row in right if "seen fonts" in row]
    assert len(heads) == 4
    figures = [row for row in right if "seen fonts" not in row]
    assert [row[0] for row in figures] == [*map(str, (*SIZES, *LENGTHS)), *KINDS, "clean", "as in training"]
    assert all(row[1:] == ["0.0%", "0.0%", "100%"] for row in figures)
    assert all(row[1:] == ["100.0%", "100.0%", "0%"] for row in blind if "seen fonts" not in row)


def test_the_pages_are_those_of_their_row():
    assert all(35 <= len(text_of(page)) <= 40 and "\n" not in text_of(page) for page in of_length(40, FONTS.seen, 5))
    assert all(set(text_of(page)) <= set("0123456789 \n") for page in of_kind("numbers", FONTS.seen, 5))
    first, again = (text_of(of_kind("words", FONTS.seen, 1)[0]) for _ in range(2))
    assert first == again


def test_the_tables_replace_the_old_ones():
    marks = [f"<!-- {name}: {end} -->\n" for name in ("other", "measured") for end in ("begin", "end")]
    page = "before\n{}kept\n{}between\n{}old\n{}after\n".format(*marks)
    assert written(page, "new") == page.replace("old\n", "\nnew\n")
    assert written(page, "new", "other") == page.replace("kept\n", "\nnew\n")
    assert written(written(page, "first"), "new") == written(page, "new")
    for without in (marks[2], marks[3]):
        with pytest.raises(ValueError, match="the page has no lines <!-- measured: begin --> and <!-- measured: end"):
            written(page.replace(without, ""), "new")


def test_the_package_gets_bfloat16(tiny, tmp_path):
    save(tiny, tmp_path / "whole")
    size = packing.pack(tmp_path / "whole", tmp_path / "packed")
    again = load(tmp_path / "packed")
    for name, weight in tiny.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight.bfloat16(), rtol=0, atol=0)
    assert size < 1.2 * 2 * sum(weight.numel() for weight in tiny.parameters())


def test_weights_that_are_too_large(tiny, tmp_path, monkeypatch):
    large = save(tiny, tmp_path / "large")
    monkeypatch.setattr(packing, "MOST", 1000)
    with pytest.raises(ValueError, match="at most 1,000 are allowed"):
        packing.pack(large, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


@pytest.fixture
def annotated(tmp_path):
    """A receipt with two lines, one of which reaches the edge of the picture."""
    folder = tmp_path / "annotated"
    folder.mkdir()
    image = Image.new("RGB", (120, 60), "white")
    image.paste((255, 0, 0), (10, 10, 50, 28))
    image.paste((0, 0, 255), (80, 40, 120, 60))
    image.save(folder / "1.png")
    lines = [{"box": [10, 10, 50, 28], "text": "RED"}, {"box": [80, 40, 120, 60], "text": "BLUE"}]
    (folder / "val_annotations.json").write_text(json.dumps([{"id": "1", "image": "1.png", "lines": lines}]))
    return folder


def test_lines_of_receipts_are_cut_out(annotated, tiny):
    found = list(lines_of(annotated))
    assert [(line.text, line.picture.size) for line in found] == [("RED", (44, 22)), ("BLUE", (42, 22))]
    assert [line.picture.getpixel((20, 10)) for line in found] == [(255, 0, 0), (0, 0, 255)]
    assert [row[:2] for row in rows_of(table(tiny, found))] == [
        ["height of the box, pixels", "lines"],
        ["16 to 19", "1"],
        ["20 to 23", "1"],
        ["all", "2"],
    ]


def test_boxes_that_are_none_or_missing(annotated, tiny):
    file = annotated / "val_annotations.json"
    (record,) = json.loads(file.read_text())
    tall = record | {"lines": [{"box": [0, 0, 4, 1200], "text": "I"}]}
    file.write_text(json.dumps([tall, {"id": "2", "image": "1.png"}]))
    assert [row[:2] for row in rows_of(table(tiny, list(lines_of(annotated))))][1:] == [
        ["28 and more", "1"],
        ["all", "1"],
    ]
    file.write_text(json.dumps([record | {"lines": [{"box": [50, 0, 4, 12], "text": "I"}]}]))
    with pytest.raises(ValueError, match=r"val_annotations\.json, record 1, line 1: .* the wrong way round"):
        list(lines_of(annotated))


def test_a_trial_is_not_written_into_docs(capsys):
    with pytest.raises(SystemExit, match="2"):
        measure.main(["nowhere", "--built_in", "--write"])
    assert "--write is for the fonts of training and the others" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_shown_in_docs(tiny, tmp_path, monkeypatch):
    """In the font that is always there; those of the real pages may not be installed."""
    monkeypatch.setattr(show, "HELD_OUT", (BUILT_IN,))
    monkeypatch.setattr(show, "FONT", "DejaVuSans.ttf")
    monkeypatch.setattr(show, "PAGES", 2)
    show.main([str(save(tiny, tmp_path / "checkpoint")), "--output", str(tmp_path)])
    with Image.open(tmp_path / show.PAGE) as page, Image.open(tmp_path / show.SHEET) as sheet:
        assert page.getextrema() != ((255, 255),) * 3
        assert sheet.height > page.height


@pytest.mark.slow
def test_the_commands(tiny, tmp_path, annotated):
    save(tiny, tmp_path / "checkpoint")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert len(rows_of(run("tools.reader.measure", "checkpoint", "--pages", "1", "--built_in"))) == 4 + 22
    assert "| all | 2 |" in run("tools.reader.receipts", "checkpoint", str(annotated))
    assert run("tools.reader.pack", "checkpoint", "--output", "packed").endswith(" bytes of weights: packed\n")


PRINTED = ("--config", "reader.yaml", "--data.printing.fonts", "[matplotlib]", "--data.val_fonts", "[matplotlib]")


@pytest.mark.slow
def test_training_is_stopped_and_goes_on_with_the_same_command(command, tmp_path):
    short = ("--run", "run", "--controls=false", "--model.max_new_tokens=4", *TINY, "--states.every_steps=1")
    command("fit", *PRINTED, *short, "--trainer.max_steps=1")
    done = command("fit", *PRINTED, *short, "--ckpt_path", "last")
    assert "checkpoint: run/checkpoint" in done.stdout
    assert [state.name for state in sorted((tmp_path / "run/states").iterdir())][-1] == "step-00000003"
    assert packing.pack(tmp_path / "run", tmp_path / "packed") <= packing.MOST
    assert load(tmp_path / "packed").processor.plan.max_slices == 48


@pytest.mark.slow
def test_unknown_fonts_are_told_before_the_first_step(command):
    refused = command("fit", *PRINTED[:2], "--data.printing.fonts", "[fonts-comic]", "--run", "run", *TINY, code=1)
    assert "fonts-comic: only matplotlib" in refused.stderr
    assert len(refused.stderr.splitlines()) <= 4


@pytest.mark.slow
def test_fine_tuning_begins_with_the_reader(tiny, receipts, command, tmp_path):
    start = save(tiny, tmp_path / "start")
    data = ("--data.path", receipts / "train.json", "--data.val_path", receipts / "val.json", "--data.val_limit=2")
    brief = ("--data.batch_size=2", "--data.workers=0", "--model.max_new_tokens=4", "--trainer.accelerator=cpu")
    steps = ("--trainer.max_steps=1", "--trainer.val_check_interval=null", "--model.warmup=0.5")
    tuned = ("--config", "reader.yaml", "--config", "data/llava.yaml", "--checkpoint", start, "--run", "tuned")
    done = command("fit", *tuned, *data, *brief, *steps)
    assert "before training" in done.stdout
    assert "trained, blank pictures" in done.stdout
    # The rate of the first step of a warm-up is 0: the weights are the start's.
    again = load(tmp_path / "tuned/checkpoint")
    for name, weight in tiny.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=0)
