"""The figure of predictions, the loss curve, the table."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from foveal.connectors import AdaptivePool
from foveal.core import Box
from foveal.encoders import VisionTransformer
from foveal.models import Processor, Turn, UhdPlan, byte_tokenizer
from foveal.models.prompts.token_count import TokenCount
from recipes.data.eval_batch import Display, collate_questions, questions_of
from recipes.reports.sheet import SheetRow, draw_sheet
from recipes.reports.table import print_report
from recipes.run.callbacks import SheetSamples


def test_sheet(tmp_path):
    rows = [
        SheetRow(Image.new("RGB", (60, 900), "white"), "How much is it? $5 or $6_?", "5.00", "5.00"),
        SheetRow(None, "Hello", "Hi", "x" * 300),
        SheetRow(Image.new("RGB", (30, 20), "red"), "Colour?", "red", "blue"),
    ]
    path = draw_sheet(rows, tmp_path / "new" / "sheet.png")
    with Image.open(path) as sheet:
        assert sheet.width > 1000
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(sheet.width * sheet.height)}
    assert (0x1A, 0x7F, 0x37) in colours
    assert (0xB4, 0x23, 0x18) in colours
    with pytest.raises(ValueError, match="no predictions"):
        draw_sheet([], tmp_path / "none.png")


def size_of_sheet(picture, path):
    with Image.open(draw_sheet([SheetRow(picture, "What?", "It", "It")] * 5, path)) as sheet:
        return sheet.size


def test_documents_are_drawn_large_enough_to_read(tmp_path):
    small, large = (size_of_sheet(Image.new("RGB", size), tmp_path / "a.png") for size in ((30, 90), (600, 1200)))
    assert large[0] > 4 * 450
    assert large[1] > 2 * 900
    assert small[0] < 1500
    assert small[1] < 2 * 500, "a page of few pixels is not as tall as its shape"


@pytest.fixture
def processor():
    encoder = VisionTransformer(8, 1, 1, 8, 8, 64, layers=(-1,))
    count = TokenCount(encoder, AdaptivePool(8, 8, rows=2, columns=2), UhdPlan(64, 8, 6))
    return Processor(byte_tokenizer(), UhdPlan(64, 8, 6), count=count, system="")


def test_the_place_of_an_answer_is_marked_and_cut_out(tmp_path, processor):
    """Where a question names a region, inside of its only picture."""
    page = Image.new("RGB", (800, 1600), "white")
    page.paste((0, 0, 255), (200, 400, 400, 440))
    question = "<image>\nRead the text in the region [0.25, .25, 0.5, 0.275]."

    def shown(text, pictures=(page,)):
        turns = (Turn("user", text), Turn("assistant", "It"))
        (item,) = questions_of("a", pictures, turns)
        return collate_questions([item], processor).pictures[0]

    display = shown(question)
    assert display.picture.size == (640, 1280)
    assert display.box == pytest.approx((160, 320, 320, 352))
    assert display.crop.size == pytest.approx((200 + 2 * 60, 40 + 2 * 60), abs=2)
    assert shown("<image>\nRead the text in the region [0, 0, 1, 1].").crop.size == (640, 1280)
    for other in ("", "[0.5, 0.1, 0.2, 0.2]", "[0, 0, 2, 1]", "[1, 2, 3]", "[0.2, 0, 0.2, 1]"):
        assert shown(f"<image>\nRead {other}.").crop is None
    assert shown("<image><image>\n[0, 0, 1, 1]", (page, page)).crop is None

    row = SheetRow(display.picture, "Read", "It", "It")
    whole = replace(row, box=display.box, crop=display.crop)
    plain, marked = blue(draw_sheet([row], tmp_path / "a.png")), blue(draw_sheet([whole], tmp_path / "b.png"))
    assert marked > 2 * plain > 0


def test_a_place_at_the_border_leaves_the_picture_as_large(tmp_path):
    row = SheetRow(Image.new("RGB", (100, 50), "blue"), "Read", "It", "It")
    corner = replace(row, box=Box(90, 45, 100, 50))
    plain, marked = blue(draw_sheet([row], tmp_path / "a.png")), blue(draw_sheet([corner], tmp_path / "b.png"))
    assert 0.97 * plain < marked < plain


def blue(path):
    """Number of pure blue pixels."""
    with Image.open(path) as sheet:
        colours = sheet.convert("RGB").getcolors(sheet.width * sheet.height)
    return {colour: number for number, colour in colours}[0, 0, 255]


def test_the_sheet_has_different_records():
    def batch(*keys):
        shown = {"questions": keys, "references": [("It",)] * len(keys), "pictures": [None] * len(keys)}
        return SimpleNamespace(keys=keys, **shown)

    samples, trainer = SheetSamples(limit=4), SimpleNamespace(global_step=7)
    for _ in range(2):
        samples.on_validation_start(trainer, None)
        for keys in (("a#1", "a#2", "b"), ("c#1", "c#2", "c#3", "filler")):
            samples.on_validation_batch_end(trainer, None, ["?"] * min(len(keys), 3), batch(*keys), 0)
        assert [row.question for row in samples.rows] == ["a#1", "b", "c#1", "a#2"]
    samples.on_validation_batch_end(trainer, None, ["?"] * 2, batch("d", "e"), 0)
    assert [row.question for row in samples.rows] == ["a#1", "b", "c#1", "d"]
    assert samples.step == 7


def test_every_second_record_shows_a_question_that_names_a_region():
    page = Image.new("RGB", (9, 9))
    there = {True: Display(page, Box(0, 0, 9, 9), page), False: Display(page)}
    keys = [f"{record}#{number}" for record in "abcd" for number in (1, 2, 3)]
    pictures = [there[key in ("a#2", "b#3", "d#2", "d#3")] for key in keys]
    shown = {"questions": keys, "references": [("It",)] * len(keys), "pictures": pictures}
    for limit, expected in ((6, ["a#1", "b#3", "c#1", "d#2", "a#2", "a#3"]), (4, ["a#1", "b#3", "c#1", "d#2"])):
        samples = SheetSamples(limit)
        samples.on_validation_batch_end(None, None, ["?"] * len(keys), SimpleNamespace(keys=keys, **shown), 0)
        assert [row.question for row in samples.rows] == expected
        assert [row.crop is not None for row in samples.rows[:4]] == [False, True, False, True]


def test_table(tmp_path, capsys):
    scores = {"trained": {"anls": 0.5, "cer": 0.25}, "before": {"anls": 0.0, "cer": 1.0}}
    print_report(scores, {"checkpoint": tmp_path / "checkpoint"})
    out = capsys.readouterr().out
    assert "character error rate" in out
    assert "0.500" in out
    assert "checkpoint: " in out
