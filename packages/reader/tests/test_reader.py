"""The package of the small reader: where its checkpoint is, and what its README says about fonts."""

from pathlib import Path

from foveal.models import answer, load
from foveal.reader import path
from recipes.data.printed.fonts import BUILT_IN, HELD_OUT, TRAINING
from recipes.data.printed.pages import PrintedSettings

README = Path(__file__).parents[1] / "README.md"


def test_the_checkpoint_lies_beside_the_code():
    assert path().name == "checkpoint"
    assert (path().parent / "py.typed").is_file()


def test_the_readme_names_the_licence_of_every_font():
    learnt, _, measured = README.read_text(encoding="utf-8").partition("Measured, but not learnt")
    for package in TRAINING:
        assert learnt.count(package) == 1, package
        assert package not in measured
    for package in HELD_OUT:
        assert measured.count(package) == 1, package
        assert package not in learnt


def test_it_is_small():
    assert sum(file.stat().st_size for file in path().rglob("*.safetensors")) <= 8_000_000


def test_it_reads():
    settings = PrintedSettings(fonts=(BUILT_IN,), font_sizes=(14, 20), lines=1, characters=12, turn=0.0, noise=0.0)
    model = load(path(), dtype="float32")
    pages = [settings.draw(11, index) for index in range(8)]
    right = [answer(model, page.image, "Read.") == page.turns[1].text for page in pages]
    assert sum(right) >= 4
