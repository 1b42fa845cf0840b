"""The web page in a real browser: Debian's Chromium, driven by playwright."""

import pytest
from tests.browser import reports, screenshot
from tests.serving import picture, running, tiny_model, until

from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, answer

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    return {"uhd": tiny_model(), "other": tiny_model(seed=9)}


@pytest.fixture(scope="module")
def served(models):
    with running(models) as server:
        yield server


@pytest.fixture
def open_page(chromium, served):
    """Opens the page in a window of its own; nothing may be wrong in its console at the end."""
    contexts, lists = [], []

    def opened(**options):
        context = chromium.new_context(**({"viewport": DESK} | options))
        page = context.new_page()
        contexts.append(context)
        lists.append(reports(page, served.url))
        page.goto(served.url)
        return page

    yield opened
    for context in contexts:
        context.close()
    # What Chromium calls verbose are its hints to authors.
    assert [each for said in lists for each in said if not each.startswith("verbose:")] == []


@pytest.fixture
def file(tmp_path):
    picture(90, 60).save(tmp_path / "page.png")
    return tmp_path / "page.png"


def asked(page, file, question="What is it?"):
    page.get_by_label("Choose a picture").set_input_files(file)
    page.locator("svg.cut").first.wait_for()
    page.get_by_label("What do you want to know?").fill(question)
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("visual and").first.wait_for()


def test_how_a_picture_is_cut_and_what_is_answered(open_page, file, models):
    page = open_page()
    asked(page, file)
    processor = models["uhd"].processor
    views, size = len(processor.plan.views(Size(90, 60))), Size(90, 60)
    assert page.locator("svg.cut rect").count() == views
    assert page.locator("tbody tr").count() == views
    visual = processor.picture_ids(size).count(IMAGE_TOKEN_ID)
    assert f"{views} views, {visual} visual tokens" in page.locator("#models p").text_content()
    expected = answer(models["uhd"], picture(90, 60), "What is it?", max_new_tokens=8)
    assert page.locator(".answer").text_content() == expected
    assert f"{visual} visual and" in page.locator(".hint").last.text_content()
    screenshot(page, "serve")


def test_a_late_answer_is_not_drawn_over_a_newer_picture(open_page, file, tmp_path):
    page, held = open_page(), []
    page.locator("#model option", has_text="uhd").wait_for(state="attached")
    page.route("**/views", lambda route: held.append(route), times=1)
    page.get_by_label("Choose a picture").set_input_files(file)
    until(lambda: page.wait_for_timeout(10) or held)
    picture(40, 70).save(tmp_path / "newer.png")
    page.get_by_label("Choose a picture").set_input_files(tmp_path / "newer.png")
    page.locator("svg.cut").wait_for()
    with page.expect_response("**/views"):
        held[0].continue_()
    page.wait_for_timeout(200)
    drawn = page.locator("svg.cut")
    assert drawn.get_attribute("aria-label").startswith("newer.png, 40 by 70 pixels")
    assert drawn.locator("image").first.get_attribute("width") == "40"


def test_two_models_side_by_side(open_page, file, models):
    page = open_page()
    page.get_by_label("Beside it").select_option("other")
    asked(page, file)
    page.get_by_text("visual and").nth(1).wait_for()
    answers = page.locator(".answer").all_text_contents()
    expected = [answer(model, picture(90, 60), "What is it?", max_new_tokens=8) for model in models.values()]
    assert sorted(answers) == sorted(expected)
    assert page.locator("svg.cut").count() == 2


def test_where_the_model_looked(open_page, file):
    page = open_page()
    asked(page, file)
    page.get_by_role("button", name="Where did it look?").click()
    word = page.locator(".answer button").first
    word.wait_for()
    word.click()
    shown = page.locator("svg.cut .relevance").get_attribute("href")
    assert shown.startswith("data:image/png;base64,")
    assert word.get_attribute("aria-pressed") == "true"
    screenshot(page, "serve_where_it_looked")


def test_by_keyboard_and_pasting(open_page, file):
    page = open_page()
    page.evaluate(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        list(file.read_bytes()),
    )
    page.locator("svg.cut").wait_for()
    page.get_by_label("What do you want to know?").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("Read it.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ask"
    page.keyboard.press("Enter")
    page.get_by_text("visual and").wait_for()


def test_what_is_wrong_is_said(chromium, served, tmp_path):
    """Not by `open_page`: the browser itself notes a refused request as an error in its console."""
    (tmp_path / "notes.png").write_text("no picture")
    page = chromium.new_page()
    page.goto(served.url)
    page.get_by_label("Choose a picture").set_input_files(tmp_path / "notes.png")
    page.get_by_role("alert").get_by_text("not a picture of a known kind").wait_for()
    page.close()


def test_an_explanation_that_is_refused_can_be_asked_again(chromium, served, file):
    page = chromium.new_page()
    page.goto(served.url)
    asked(page, file)
    said = page.locator("#answers .hint").text_content()
    refused = {"status": 429, "json": {"error": {"message": "try again in a moment"}}}
    page.route("**/explain", lambda route: route.fulfill(**refused), times=1)
    page.get_by_role("button", name="Where did it look?").click()
    page.get_by_text("try again in a moment").wait_for()
    page.get_by_role("button", name="Where did it look?").click()
    page.locator(".answer button").first.wait_for()
    assert page.locator("#answers .hint").text_content() == said
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_anybody_can_use_it(open_page, file, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(viewport=size, color_scheme=scheme)
    page.get_by_label("Beside it").select_option("other")
    asked(page, file)
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    screenshot(page, f"serve_{scheme}_{size['width']}")


def test_a_key_is_asked_for(chromium):
    with running({"uhd": tiny_model()}, key="secret") as server:
        page = chromium.new_page()
        page.goto(server.url)
        page.get_by_label("API key").fill("secret")
        page.get_by_label("API key").press("Tab")
        page.locator("#model option", has_text="uhd").wait_for(state="attached")
        page.close()
