"""Every example of docs/data.md is read as the page says."""

import math
import re
from pathlib import Path

import pytest
from PIL import Image

from recipes.answering.questions import QuestionFile, Unusable
from recipes.data.index.open_records import open_records
from recipes.data.mixture import read_mixture

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(json|jsonl|questions)\n(.*?)^```$", PAGE, flags=re.S | re.M)


def names(pictures):
    return [str(picture).rpartition("/")[2] for picture in pictures]


@pytest.fixture
def read(tmp_path):
    """Reads an example whose pictures are there: their names, and texts."""

    def of(kind, text):
        for name in re.findall(r"\w+\.png", text):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        pages = [Image.new("RGB", (595, 842)) for _ in range(3)]
        pages[0].save(tmp_path / "report.pdf", save_all=True, append_images=pages[1:], resolution=72)
        pages[0].save(tmp_path / "letter.pdf", resolution=72)
        path = tmp_path / "example"
        path.write_text(text, encoding="utf-8")
        if kind == "questions":
            asked = QuestionFile(path, tmp_path, Unusable()).read()
            return [(names(each.pictures), [each.text]) for each in asked]
        records = open_records(path)
        return [(names(each.images), [turn.text for turn in each.turns]) for each in records]

    return of


def test_the_examples(read):
    assert [read(*example) for example in EXAMPLES] == [
        [(["receipt_1.png"], ["<image>\nWhat is the total amount?", "12.50", "And the date?", "3 May"])],
        [(["left.png", "right.png"], ["Be brief.", "<image><image>What differs?", "The colour."])],
        [(["page.png"], ["<image>\nRead.", "No smoking"])],
        [(["cat.png"], ["<image>", "A cat on a wall."]), (["dog.png"], ["<image>", "A dog under a table."])],
        [([], ["What is OCR?", "Reading by machine."]), ([], ["Are you there?", "Yes."])],
        [(["page.png"], ["Read."]), (["left.png", "right.png"], ["What differs?"])],
        [
            (["report.pdf#page=3"], ["<image>\nRead.", "Sales"]),
            (["letter.pdf"], ["<image>\nWho wrote it?", "Ann"]),
        ],
    ]


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Runs the Python examples of a section in a folder with their pictures; returns the folder."""

    def run(section):
        (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M)
        for name in re.findall(r"\w+\.png", text):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        monkeypatch.chdir(tmp_path)
        for script in re.findall(r"^```python\n(.*?)^```$", text, flags=re.S | re.M):
            exec(script, {})
        return tmp_path

    return run


def texts(records):
    return [(len(each.images), [turn.text for turn in each.turns]) for each in records]


THREE = [
    (1, ["<image>\nRead.", "No smoking"]),
    (1, ["<image>\nWhat is this?", "A cat."]),
    (0, ["Are you there?", "Yes."]),
]


def test_parquet(scripts):
    folder = scripts("Parquet")
    assert texts(open_records(folder / "mine.parquet")) == texts(open_records(folder)) == THREE


def test_tars(scripts):
    found = [(1, ["<image>\nRead.", "No smoking"]), (1, ["<image>", "A cat on a wall."])]
    folder = scripts("WebDataset tars")
    assert texts(open_records(folder / "mine-00000.tar")) == texts(open_records(folder)) == found


def test_the_mixture(tmp_path):
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.S | re.M)
    (tmp_path / "mix.yaml").write_text(example)
    for name in ("receipts/train.json", "pages.jsonl", "text.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "scans").mkdir()
    assert [
        (part.path.relative_to(tmp_path).as_posix(), part.weight) for part in read_mixture(tmp_path / "mix.yaml")
    ] == [
        ("receipts/train.json", 2),
        ("pages.jsonl", 0.5),
        ("text.jsonl", 1),
    ]


def test_the_numbers():
    from foveal.models.views.read_image import MAX_PIXELS
    from recipes.data.bad_samples import SHOWN, BadSamples
    from recipes.reading.pdf import DPI
    from recipes.reading.pictures import MAX_BYTES

    assert (MAX_PIXELS, MAX_BYTES, BadSamples().max_bad, SHOWN) == (50_000_000, 20_000_000, 0.001, 5)
    assert (DPI, [math.ceil(side / 25.4 * DPI) for side in (210, 297)]) == (200, [1654, 2339])
    for words in (
        "1654 x 2339",
        "at 200 dpi",
        "50 million pixels",
        "up to 20 MB",
        "0.001 by default",
        "the first five",
    ):
        assert words in PAGE
