"""Fixtures shared by tests of the recipes."""

import json
from functools import partial

import lightning.pytorch as pl
import pytest
from PIL import Image

from recipes.data.shapes import read_shape


@pytest.fixture
def quiet_trainer(tmp_path):
    """Makes a Trainer on the CPU that writes and prints nothing by itself; takes the settings under test."""
    return partial(
        pl.Trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )


def talk(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


RECORDS = [
    {
        "id": "a",
        "image": "p/1.jpg",
        "conversations": [{"from": "human", "value": "<image>\nA?"}, {"from": "gpt", "value": "1"}],
    },
    {"id": "b", "images": ["p/2.png", "p/1.jpg"], "system": "Brief.", "messages": talk("<image>é\u2028<image>", "2")},
    {"id": "c", "image": "p/2.png", "caption": "A cat."},
    {"id": "d", "messages": talk("Hi", "Ho")},
    {"id": "e", "image": "p/3.webp", "messages": talk("C?", "3")},
]
"""Records of different shapes, with one, two and no pictures."""


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """The file of `RECORDS`, next to their pictures."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "p").mkdir()
    for number, name in enumerate(["1.jpg", "2.png", "3.webp"], start=1):
        Image.new("RGB", (8 * number, 8), (40 * number, 0, 0)).save(folder / "p" / name)
    (folder / "data.json").write_text(json.dumps(RECORDS), encoding="utf-8")
    return folder / "data.json"


@pytest.fixture(scope="session")
def contents():
    """Reads everything that a reader has: for every record its id, its turns, and the bytes of its pictures."""

    def of(reader):
        found = []
        for _, where, value in reader.records():
            names, turns = read_shape(value, where)
            sources = [reader.picture(name, where) for name in names]
            pictures = [each if isinstance(each, bytes) else each.read_bytes() for each in sources]
            found.append((value["id"], [(turn.role, turn.text) for turn in turns], pictures))
        return found

    return of


@pytest.fixture
def file(tmp_path):
    """Three records: the second has no picture, the others the same one."""
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
    rows = [
        {"id": number, "image": image, "messages": talk(f"{number}?", "a " * number + ".")}
        for number, image in ((1, "a.png"), (2, None), (3, "a.png"))
    ]
    path = tmp_path / "data.json"
    path.write_text(json.dumps(rows))
    return path
