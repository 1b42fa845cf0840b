"""What the web page asks the server besides answers, and what the page itself may load."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import httpx
import pytest
from PIL import Image
from tests.serving import data_url, picture, running, tiny_model

from foveal.core import Size
from foveal.models import explain, image_size
from recipes.reports.views import shown_views
from recipes.serving import page_routes
from recipes.serving.app import PREPARED_TOGETHER
from recipes.serving.page_routes import PAGE


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def served(model):
    with running({"uhd": model}) as server:
        yield server


def post(server, path, **body):
    return httpx.post(server.url + path, json={"model": "uhd", "picture": data_url(picture(90, 60))} | body, timeout=60)


def test_how_a_picture_is_cut(served, model):
    found, shown = post(served, "/views").json(), shown_views(model, Size(90, 60))
    assert (found["width"], found["height"]) == (90, 60)
    for view, each in zip(found["views"], shown, strict=True):
        assert view["box"] == [each.box.left, each.box.top, each.box.right, each.box.bottom]
        assert (view["width"], view["height"]) == tuple(each.view)
        assert (view["tokens"], view["padding"], view["scale"]) == (each.tokens, each.padding, each.scales)
    assert found["visual_tokens"] == sum(view["tokens"] for view in found["views"])
    assert found["order"] == "1 , 2 \\n 3 , 4 \\n 5"
    assert found["padding"] == 0
    # A view shows 45 pixels across on 28 and 30 down on 21.
    assert found["squash"] == pytest.approx((21 / 30) / (28 / 45))


def test_where_the_model_looked(served, model):
    found = post(served, "/explain", question="What?", answer="It is 12.").json()["words"]
    expected = explain(model, picture(90, 60), "What?", "It is 12.").per_word
    assert [each["word"] for each in found] == [each.word for each in expected]
    for each, (whole,) in zip(found, (word.maps for word in expected), strict=True):
        assert max(map(max, each["map"])) == 1.0
        assert min(map(min, each["map"])) >= 0
        assert len(each["map"]) / len(each["map"][0]) == pytest.approx(whole.shape[0] / whole.shape[1], rel=0.1)


def test_few_pictures_are_measured_at_a_time(served, monkeypatch):
    """Some are decoded for it."""
    now, most, lock = 0, 0, threading.Lock()

    def measured(data):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return image_size(data)

    monkeypatch.setattr(page_routes, "image_size", measured)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: post(served, "/views").status_code, range(6)))
    assert found == [200] * 6
    assert most <= PREPARED_TOGETHER


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/views", {"picture": "https://example.com/a.png"}, "picture: pictures are not fetched from anywhere"),
        ("/views", {"picture": "data:image/png;base64,aGk="}, "not a picture of a known kind"),
        ("/views", {"picture": 5}, "picture: Input should be a valid string"),
        ("/views", {"model": "x"}, "there is no model 'x'"),
        ("/explain", {"question": "What?", "answer": " "}, "the assistant's answer is empty"),
        ("/explain", {"question": "<image><image>", "answer": "a"}, "there must be one for each"),
        ("/explain", {"question": "What?", "answer": "a " * 5000}, "more than 500 tokens can have"),
        ("/explain", {"question": "What?"}, "answer: Field required"),
    ],
)
def test_what_is_refused_to_the_page(served, path, body, message):
    answer = post(served, path, **body)
    assert 400 <= answer.status_code < 500, answer.text
    assert message in answer.json()["error"]["message"]


def test_a_picture_that_cannot_be_cut(served):
    answer = post(served, "/views", picture=data_url(Image.new("1", (8000, 8000))))
    assert answer.status_code == 400
    assert "more than the limit" in answer.json()["error"]["message"]


def test_the_page_names_no_other_host(served):
    folder = files("recipes.serving").joinpath("page")
    assert {each.name for each in folder.iterdir()} == {name for name, _ in PAGE.values()}
    for path, (name, kind) in PAGE.items():
        answer = httpx.get(served.url + path)
        assert answer.text == folder.joinpath(name).read_text(encoding="utf-8")
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        hosts = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", answer.text)
        assert set(hosts) <= {"http://www.w3.org"}
