"""The web page in a real browser: Debian's Chromium, driven by playwright."""

import pytest
from tests.browser import reports, screenshot
from tests.serving import Gate, picture, running, tiny_model, until

from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, AnyResPlan, answer

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    return {"uhd": tiny_model(), "other": tiny_model(seed=9), "padded": tiny_model(plan=AnyResPlan(28, [(1, 1)]))}


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


@pytest.fixture
def gate(monkeypatch):
    """Holds answers back; at the end it lets them go, for the server is that of all tests."""
    held = Gate(monkeypatch)
    yield held
    held.open()


def ask(page, file, question):
    page.get_by_label("Choose a picture").set_input_files(file)
    page.locator("svg.cut").first.wait_for()
    page.get_by_label("What do you want to know?").fill(question)
    page.get_by_role("button", name="Ask").click()


def asked(page, file, question="What is it?"):
    ask(page, file, question)
    page.get_by_text("visual and").first.wait_for()


def transfer(page, file):
    """What the browser hands over when this picture is pasted or dropped."""
    return page.evaluate_handle(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "moved.png", { type: "image/png" }));
            return data;
        }""",
        list(file.read_bytes()),
    )


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


def test_what_padding_and_squashing_cost_is_said(open_page, file, tmp_path):
    page, said = open_page(), "{} views, {} visual tokens{}. In the prompt: "
    square = tmp_path / "square.png"
    picture(60, 60).save(square)
    page.get_by_label("Choose a picture").set_input_files(square)
    # A square is cut into squares of its own shape: nothing is lost, so nothing is said.
    page.get_by_text(said.format(5, 20, "")).wait_for()
    picture(90, 45).save(file)
    page.get_by_label("Choose a picture").set_input_files(file)
    page.get_by_label("Model").select_option("padded")
    # The overview is stretched to a square, and the only tile is as large and half empty.
    lost = "; 25 % of the encoded pixels are padding; sides are squashed up to 2.00 times"
    page.get_by_text(said.format(2, 8, lost)).wait_for()


def test_an_answer_is_shown_while_it_is_written(open_page, file, models, gate):
    page = open_page()
    ask(page, file, "What is it?")
    gate.let(5)
    until(lambda: page.locator(".answer").text_content())
    part = page.locator(".answer").text_content()
    assert page.get_by_role("button", name="Ask").is_disabled()
    gate.open()
    page.get_by_text("visual and").wait_for()
    whole = answer(models["uhd"], picture(90, 60), "What is it?", max_new_tokens=8)
    assert page.locator(".answer").text_content() == whole
    assert whole.startswith(part)
    assert len(part) < len(whole)
    assert page.get_by_role("button", name="Ask").is_enabled()


def test_an_answer_that_is_stopped(open_page, file, served, models, gate):
    page = open_page()
    stop = page.get_by_role("button", name="Stop")
    assert stop.is_disabled()
    ask(page, file, "What is it?")
    gate.let(5)
    until(lambda: page.locator(".answer").text_content())
    stop.click()
    page.get_by_text("stopped", exact=True).wait_for()
    part = page.locator(".answer").text_content()
    gate.open()
    until(lambda: served.service.state.active == 0)
    whole = answer(models["uhd"], picture(90, 60), "What is it?", max_new_tokens=8)
    assert page.locator(".answer").text_content() == part
    assert len(part) < len(whole)
    assert stop.is_disabled()
    # The next question is not stopped with it.
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("visual and").wait_for()
    assert page.locator(".answer").text_content() == whole


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
    expected = [
        answer(model, picture(90, 60), "What is it?", max_new_tokens=8) for model in (models["uhd"], models["other"])
    ]
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


def test_words_are_chosen_by_keyboard(open_page, file):
    page = open_page()
    asked(page, file, "Where is that?")
    page.get_by_role("button", name="Where did it look?").press("Enter")
    first, second = (page.locator(".answer button").nth(number) for number in (0, 1))
    second.wait_for()
    relevance = page.locator("svg.cut .relevance")
    # The button that was pressed is gone: without a new place, Tab would start at the top of the page.
    assert first.evaluate("button => button === document.activeElement")
    shown = []
    for word, key in ((first, "Space"), (second, "Enter")):
        page.keyboard.press(key)
        assert word.get_attribute("aria-pressed") == "true"
        assert relevance.get_attribute("data-word") == word.text_content().removesuffix(" ")
        shown.append(relevance.get_attribute("href"))
        page.keyboard.press("Tab")
    assert first.get_attribute("aria-pressed") == "false"
    assert shown[0] != shown[1]


def test_dropping(open_page, file):
    """Anywhere on the page: a browser that is not told otherwise leaves the page to show the picture."""
    page = open_page()
    data = transfer(page, file)

    def drag(event):
        """Whether the browser is told that the page takes the picture itself, and whether the field is marked."""
        made = f"new DragEvent('{event}', {{ dataTransfer: data, bubbles: true, cancelable: true }})"
        taken = not page.evaluate(f"(data) => document.querySelector('h1').dispatchEvent({made})", data)
        return taken, page.locator("#drop.over").count() == 1

    assert drag("dragover") == (True, True)
    assert drag("dragleave") == (True, False)
    assert drag("dragover") == (True, True)
    assert drag("drop") == (True, False)
    page.locator("svg.cut").wait_for()
    assert page.locator("svg.cut").get_attribute("aria-label").startswith("moved.png, 90 by 60 pixels")


def test_by_keyboard_and_pasting(open_page, file):
    page = open_page()
    page.evaluate(
        "(data) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", transfer(page, file)
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

    def faults():
        found = Axe().run(page).response["violations"]
        return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]

    page = open_page(viewport=size, color_scheme=scheme)
    page.get_by_label("Beside it").select_option("other")
    asked(page, file)
    assert faults() == []
    page.get_by_role("button", name="Where did it look?").first.click()
    page.locator(".answer button").first.click()
    page.locator("svg.cut .relevance[data-word]").wait_for(state="attached")
    assert faults() == []
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
