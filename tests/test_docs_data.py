"""Every example of docs/data.md is read as the page says."""

import re
from pathlib import Path

import pytest
from PIL import Image

from recipes.commands.predict import read_questions
from recipes.data.index.open_records import open_records
from recipes.data.mixture import read_mixture

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```(json|jsonl|questions)\n(.*?)^```$", PAGE, flags=re.S | re.M)


@pytest.fixture
def read(tmp_path):
    """Reads an example whose pictures are there: their names, and texts."""

    def of(kind, text):
        for name in re.findall(r"\w+\.png", text):
            Image.new("RGB", (8, 8)).save(tmp_path / name)
        path = tmp_path / "example"
        path.write_text(text, encoding="utf-8")
        if kind == "questions":
            return [([path.name for path in each.images], [each.text]) for each in read_questions(path, tmp_path)]
        records = open_records(path)
        return [([path.name for path in each.images], [turn.text for turn in each.turns]) for each in records]

    return of


def test_the_examples(read):
    assert [read(*example) for example in EXAMPLES] == [
        [(["receipt_1.png"], ["<image>\nWhat is the total amount?", "12.50", "And the date?", "3 May"])],
        [(["left.png", "right.png"], ["Be brief.", "<image><image>What differs?", "The colour."])],
        [(["page.png"], ["<image>\nRead.", "No smoking"])],
        [(["cat.png"], ["<image>", "A cat on a wall."]), (["dog.png"], ["<image>", "A dog under a table."])],
        [([], ["What is OCR?", "Reading by machine."]), ([], ["Are you there?", "Yes."])],
        [(["page.png"], ["Read."]), (["left.png", "right.png"], ["What differs?"])],
    ]


def test_the_mixture(tmp_path):
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, flags=re.S | re.M)
    (tmp_path / "mix.yaml").write_text(example)
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
    from recipes.reading.pictures import MAX_BYTES

    assert (MAX_PIXELS, MAX_BYTES, BadSamples().max_bad, SHOWN) == (50_000_000, 20_000_000, 0.001, 5)
    for words in ("50 million pixels", "up to 20 MB", "0.001 by default", "the first five"):
        assert words in PAGE
