"""The figure of predictions, the loss curve, the table."""

import pytest
from PIL import Image

from recipes.reports.sheet import SheetRow, draw_sheet
from recipes.reports.table import print_report


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


def test_table(tmp_path, capsys):
    scores = {"trained": {"anls": 0.5, "cer": 0.25}, "before": {"anls": 0.0, "cer": 1.0}}
    print_report(scores, {"checkpoint": tmp_path / "checkpoint"})
    out = capsys.readouterr().out
    assert "character error rate" in out
    assert "0.500" in out
    assert "checkpoint: " in out
