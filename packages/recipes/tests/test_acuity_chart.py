"""Reading a chart, its numbers and its figure, with readers whose eyes are known."""

import json

import pytest
from PIL import Image

from foveal.core import Size
from recipes.acuity_chart.drawing import draw_chart
from recipes.acuity_chart.pages import ChartSettings, draw_chart_page
from recipes.acuity_chart.psychometric import Estimate
from recipes.acuity_chart.reading import Chart, Reading, read_chart
from recipes.acuity_chart.results import said, write_answers, write_results
from recipes.acuity_chart.seams import Seam

DIGITS = "0123456789"
WIDE, TALL = Size(80, 40), Size(40, 80)
SEAMS = {WIDE: (Seam(True, 40.0, 0.0, 40.0),), TALL: ()}
CHART = Chart(
    ChartSettings(DIGITS, 3, (WIDE, TALL), ("aileron", "dejavu-serif"), (1.0, 0.5)), (9.0, 7.0, 5.0, 3.0), 24, 0, SEAMS
)


class Eyes:
    """Reads everything down to a height, and always says the same below it."""

    def __init__(self, smallest):
        self.smallest, self.asked = smallest, []
        self.printed = iter(
            draw_chart_page(CHART.settings, height, CHART.seed, number, CHART.seams)[1]
            for height in CHART.heights
            for number in range(CHART.pages)
        )

    def answers(self, pages, question, *, max_new_tokens):
        self.asked.append(len(pages))
        shown = [next(self.printed) for _ in pages]
        assert [page.size for page in shown] == [Size.of(page.size) for page in pages]
        return [f"It is {page.text}." if page.height >= self.smallest else "It is 7." for page in shown]

    def tokens(self, page):
        return page.area // 100


def reading(name, smallest, seams=SEAMS, tokens=True):
    reader, counted = Eyes(smallest), []
    results, fit = read_chart(reader, CHART, "Read.", seams, max_new_tokens=8, batch_size=10, on_pages=counted.append)
    assert counted == reader.asked
    sizes = {size: reader.tokens(size) if tokens else None for size in CHART.settings.sizes}
    return Reading(name, "made up", "Read.", sizes, seams, results, fit)


@pytest.fixture(scope="module")
def sharp():
    return reading("$sharp$", 5)


@pytest.fixture(scope="module")
def other():
    return reading("other", 7, {WIDE: None, TALL: None}, tokens=False)


@pytest.fixture(scope="module")
def blind():
    return reading("blind", 20)


def test_the_smallest_height_that_is_read(sharp, other):
    assert [tally.accuracy for tally in sharp.heights.values()][:3] == [1, 1, 1]
    assert 3 < sharp.fit.smallest[0.5].value < 5 < other.fit.smallest[0.5].value < 7
    assert sharp.fit.smallest[0.5].value < sharp.fit.smallest[0.9].value < 5.5
    assert sharp.fit.curve.chance < 0.2
    assert len(sharp.results) == len(CHART.heights) * CHART.pages


def test_who_cannot_read_the_largest_characters_is_not_asked_about_others(blind):
    assert blind.fit is None
    assert len(blind.results) == CHART.pages
    assert list(blind.heights) == [9.0]


def test_the_numbers(sharp, other, blind, tmp_path):
    path = write_results(CHART, [sharp, other, blind], tmp_path / "new" / "acuity.json")
    content = json.loads(path.read_text())
    assert {name: content[name] for name in ("alphabet", "heights", "pages", "sizes")} == {
        "alphabet": DIGITS,
        "heights": [9.0, 7.0, 5.0, 3.0],
        "pages": 24,
        "sizes": ["80x40", "40x80"],
    }
    first, second, third = content["models"]
    assert [model["charted"] for model in content["models"]] == [True, True, False]
    for model, pages in ((first, 96), (second, 96), (third, 24)):
        shown = 3 * pages
        for kind in ("by_font", "by_contrast", "by_size"):
            assert sum(tally["shown"] for tally in model[kind].values()) == shown
            assert all(tally["accuracy"] == tally["read"] / tally["shown"] for tally in model[kind].values())
        assert sum(tally["shown"] for tally in model["by_height"]) == shown
        assert sum(sum(map(sum, place["shown"])) for place in model["by_place"]) == shown
    read = sum(tally["read"] for tally in first["by_size"].values())
    assert sum(sum(map(sum, place["read"])) for place in first["by_place"]) == read
    answers = [json.loads(line) for line in write_answers([sharp], tmp_path / "answers.jsonl").open()]
    assert len(answers) == 96
    assert sum(3 - answer["read"].count("-") for answer in answers) == read
    assert first["by_size"]["80x40"]["visual_tokens"] == 32
    wide = [answer for answer in answers if answer["size"] == "80x40"]
    hits = sum(3 - answer["read"].count("-") for answer in wide)
    assert first["by_size"]["80x40"]["read_per_visual_token"] == pytest.approx(hits / len(wide) / 32)
    assert second["by_size"]["80x40"]["read_per_visual_token"] is None
    assert 0 <= first["by_seam"]["beside"] <= 1
    assert first["by_seam"]["across"]["shown"] > 0
    assert second["by_seam"] is None
    assert [place["seams"] for place in second["by_place"]] == [None, None]
    assert first["by_place"][0]["seams"] == [{"upright": True, "at": 40.0, "start": 0.0, "end": 40.0}]
    assert third["smallest"] is None
    half = first["smallest"]["0.5"]
    assert half["low"] is None or half["low"] <= half["height"] <= half["high"]
    assert half["beyond"] is None


def test_the_figure(sharp, other, blind, tmp_path):
    one, two = (
        draw_chart(CHART, [sharp], tmp_path / "1.png"),
        draw_chart(CHART, [other, blind, sharp], tmp_path / "2.png"),
    )
    with Image.open(one) as first, Image.open(two) as second:
        assert first.width == second.width
        assert second.height - first.height == 190
        assert len(second.convert("RGB").getcolors(1 << 20)) > 100


def test_heights_in_words():
    infinite = float("inf")
    assert said(Estimate(5.91, 5.7, 6.12), CHART) == "at 5.9 px (5.7 to 6.1)"
    assert said(Estimate(5.91, -infinite, infinite), CHART) == "at 5.9 px (below 3 to above 9)"
    assert said(Estimate(infinite, 8.0, infinite), CHART) == "above 9 px"
    assert said(Estimate(-infinite, -infinite, 4.0), CHART) == "below 3 px"
