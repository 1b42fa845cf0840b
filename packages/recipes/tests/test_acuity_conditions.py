"""What a chart takes from the run that wrote a checkpoint."""

import pytest
import yaml

from foveal.core import Size
from recipes.acuity_chart.conditions import ASKED, HEIGHTS, SIZES, common, conditions_of
from recipes.acuity_chart.glyphs import FONTS
from recipes.acuity_chart.trained_on import trained_on
from recipes.commands.acuity import short_names


@pytest.fixture
def run(tmp_path):
    """Writes a run's configuration with these data, and returns its checkpoint."""

    def written(data):
        (tmp_path / "config.yaml").write_text(data if isinstance(data, str) else yaml.safe_dump({"data": data}))
        return tmp_path / "checkpoint"

    return written


def pages(**settings):
    return {"class_path": "recipes.data.PagesData", "init_args": {"pages": 3, "settings": settings}}


def test_the_built_in_pages(run):
    checkpoint = run(pages(sizes=[[64, 32], [32, 64]], font_sizes=[6, 15], characters="ABCA"))
    found = conditions_of(checkpoint)
    assert found.source == checkpoint.parent / "config.yaml"
    assert (found.alphabet, found.question) == ("ABC", "Read.")
    assert found.sizes == (Size(64, 32), Size(32, 64))
    # Capitals of that font are 0.7 of its size.
    assert found.heights == tuple(range(10, 2, -1))
    assert (found.fonts, found.contrasts) == (("aileron",), (1.0,))
    assert conditions_of(run(pages(lines=[1, 3]))).question == "Read line 1."
    assert conditions_of(run({"class_path": "recipes.data.PagesData"})).alphabet == "0123456789"


def printed(**printing):
    return {"class_path": "recipes.data.PrintedData", "init_args": {"pages": 3, "printing": printing}}


def test_pages_of_printed_text(run):
    checkpoint = run(printed(font_sizes=[11, 24]))
    found = conditions_of(checkpoint)
    assert found.source == checkpoint.parent / "config.yaml"
    assert (found.alphabet, found.question) == ("ABCDEFGHJKLMNPRSTUVXYZ0123456789", "Read.")
    assert (found.sizes, found.fonts) == ((Size(192, 48), Size(256, 96), Size(128, 128)), FONTS)
    # Capitals are 0.7 of a font's size.
    assert found.heights == (16, 12, 10, 9, 8, 7, 6, 5, 4, 3)
    small = conditions_of(run(printed(font_sizes=[11, 16], area=10_000)))
    assert (small.sizes, small.heights[0]) == ((Size(192, 48),), 11)
    with pytest.raises(ValueError, match=r"config\.yaml, data\.init_args\.printing: .*area 10"):
        conditions_of(run(printed(area=10)))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"class_path": "recipes.data.LlavaData", "init_args": {"path": "a"}},
        pages(class_path="mine.Pages"),
        "- 1\n",
    ],
)
def test_nothing_is_known(run, tmp_path, data):
    found = conditions_of(tmp_path / "copied" if data is None else run(data))
    assert (found.source, found.alphabet, found.question) == (None, "0123456789", "Read.")
    assert (found.heights, found.sizes, found.fonts) == (HEIGHTS, SIZES, FONTS)


def test_a_published_model_is_asked_for_characters_only(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "config.json").write_text("{}")
    assert conditions_of(tmp_path / "published").question == ASKED


@pytest.mark.parametrize("settings", [{"colours": 3}, {"sizes": [[0, 0]]}, {"font_sizes": [3, 1]}])
def test_settings_that_no_page_has_are_refused(run, settings):
    with pytest.raises(ValueError, match=r"config\.yaml, data\.init_args\.settings: .*(colours|at least)"):
        trained_on(run(pages(**settings)))


def test_what_all_models_are_tested_with(run, tmp_path):
    assumed = conditions_of(tmp_path / "copied")
    digits, letters = conditions_of(run(pages())), conditions_of(run(pages(characters="AB")))
    both = [assumed, letters]
    assert common(both, [each.alphabet for each in both], "--alphabet") == "AB"
    assert common([assumed], ["x"], "--alphabet") == "x"
    trained = [assumed, digits, letters]
    with pytest.raises(ValueError, match=r"different alphabet, 0123456789 and AB: give --alphabet"):
        common(trained, [each.alphabet for each in trained], "--alphabet")


def test_names_are_short_and_differ(tmp_path):
    assert short_names([tmp_path / "uhd" / "version_0"]) == ["uhd/version_0"]
    same = [tmp_path / name / "uhd" / "version_0" for name in ("a", "b")]
    assert short_names(same) == ["a/uhd/version_0", "b/uhd/version_0"]
