"""A real browser, where one is installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
"""What the pages looked like in the last run of their tests, for people; git ignores it."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Chromium without a window, through its own executable."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        # Its sandbox needs rights that containers do not have; only our own pages are opened.
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


def reports(page: Any, *own: str) -> list[str]:
    """What a page reports on its console, and what it asks the network for; the list grows with the page's life.

    Args:
        page: a tab that has loaded nothing yet.
        own: beginnings of addresses that it may ask for, beside those of `data:`.
    """
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda asked: asked.url.startswith((*own, "data:")) or said.append(f"asks {asked.url}"))
    return said


def screenshot(page: Any, name: str, *, whole: bool = True) -> Path:
    """Keep what a page looks like as `screenshots/NAME.png`.

    Args:
        page: an open tab.
        name: of the file, the same in every run.
        whole: with what has to be scrolled to.
    """
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A tab of that browser; whatever it reports on its console, and whatever it asks the network for, is an error."""
    page = chromium.new_page(viewport={"width": 1000, "height": 800})
    page.set_default_timeout(10_000)
    said = reports(page, "file:")
    yield page
    page.close()
    assert said == []
