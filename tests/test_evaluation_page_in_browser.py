"""The page of an evaluation in a real browser, as somebody uses it."""

import re

import pytest
from PIL import Image
from tests.browser import screenshot

from foveal.core import Box
from foveal.models import BadImageError
from recipes.reports.evaluation_page import Shown, write_page

pytestmark = pytest.mark.slow
NUMBER = 400


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A page of items with scores 0, 0.01 and so on, over and over, and some that are unusual."""

    def damaged():
        raise BadImageError("p/9.jpg: truncated")

    def red():
        return Image.new("RGB", (300, 200), "red")

    def items():
        box = Box(9, 9, 60, 30)
        for number in reversed(range(NUMBER)):
            score, group = number % 101 / 100, ("text", "count")[number % 2]
            yield Shown(f"item {number}", "What?", ("It",), f"answer {number}", score, (red,), group, (box,))
        hostile = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
        yield Shown(hostile, hostile + "\0\x07\ud800\u202e", (hostile,), "long " * 20_000, None, (damaged,), hostile)

    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(items(), path, title="Receipts", facts={"model": "uhd"}, scores={"ANLS": 0.5})
    return path.as_uri()


@pytest.fixture
def opened(tab, address):
    tab.goto(address)
    return tab


def keys(tab):
    return tab.locator(".item .key").all_text_contents()


def test_worst_first(opened):
    assert opened.title() == "Receipts"
    assert opened.get_by_role("status").text_content() == f"{NUMBER + 1} items of {NUMBER + 1}, mean score 0.4951"
    assert keys(opened)[:5] == ["item 303", "item 202", "item 101", "item 0", "item 304"]
    assert keys(opened)[-1].startswith("</script>"), "without a score"


def test_rows_are_filled_when_they_are_seen(opened):
    assert opened.locator(".item:has(.texts)").count() < 30
    last = opened.locator(".item").last
    last.scroll_into_view_if_needed()
    last.locator(".texts").wait_for()
    assert opened.locator(".item:has(.texts)").count() < 60


def test_filters(opened):
    opened.get_by_label("score from").fill("0.995")
    opened.get_by_text(re.compile("^3 items of")).wait_for()
    assert keys(opened) == ["item 302", "item 201", "item 100"]
    opened.get_by_label("group").select_option(label="count (200)")
    opened.get_by_text(re.compile("^1 item of")).wait_for()
    opened.get_by_role("button", name="Reset").click()
    opened.get_by_role("searchbox", name="text").fill("ANSWER 39")
    opened.get_by_text(re.compile("^11 items of")).wait_for()
    assert set(keys(opened)) == {"item 39", *(f"item {number}" for number in range(390, 400))}


def test_the_histogram_chooses(opened):
    chosen = opened.get_by_role("button", name="score 0.9 to 1: 40 items")
    chosen.click()
    assert chosen.get_attribute("aria-pressed") == "true"
    assert opened.locator(".item").count() == 40
    opened.get_by_role("button", name="not scored: 1 item").click()
    assert opened.locator(".item").count() == 41
    chosen.click()
    assert opened.locator(".item").count() == 1


def test_keys(opened):
    for key in "jjjk":
        opened.keyboard.press(key)
    assert opened.evaluate("document.activeElement.querySelector('.key').textContent") == "item 202"
    opened.keyboard.press("/")
    opened.keyboard.type("jk")
    assert opened.get_by_role("searchbox", name="text").input_value() == "jk"


def test_pictures(opened):
    first = opened.locator(".item").first
    image = first.get_by_role("button", name="Picture 1 of item 303", exact=True)
    assert image.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 300
    outline = image.locator(".box").evaluate("box => [box.style.left, box.style.top, box.style.width]")
    assert outline == ["3%", "4.5%", "17%"]
    with Image.open(screenshot(opened, "evaluation", whole=False)) as kept:
        assert kept.size == (1000, 800)
    image.click()
    assert opened.get_by_role("dialog").is_visible()
    opened.keyboard.press("Escape")
    assert opened.get_by_role("dialog").count() == 0


def test_hostile_texts_are_only_texts(opened):
    last = opened.locator(".item").last
    last.scroll_into_view_if_needed()
    last.locator(".texts").wait_for()
    assert opened.title() == "Receipts"
    assert last.locator("img").count() == 0
    assert last.locator(".pictures").text_content() == "p/9.jpg: truncated"
    assert "\u2400\u2407" in last.locator("dd").first.text_content()
    assert len(last.locator(".answer").text_content()) < 1100
    last.get_by_role("button", name="Show all 100,000 characters").click()
    assert len(last.locator(".answer").text_content()) >= 100_000


def test_a_phone_and_a_dark_room(opened):
    light = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.emulate_media(color_scheme="dark")
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != light
    opened.set_viewport_size({"width": 360, "height": 700})
    screenshot(opened, "evaluation_dark_360", whole=False)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def test_names_for_those_who_listen(opened):
    unnamed = "[...document.querySelectorAll('button, input, select')].filter(element => !element.ariaLabel"
    unnamed += " && !element.textContent && !element.labels?.length && !element.querySelector('img[alt]')).length"
    assert opened.evaluate(unnamed) == 0
    assert opened.get_by_role("list", name="Items, worst first").count() == 1
    assert opened.get_by_role("heading", level=3).count() == NUMBER + 1
