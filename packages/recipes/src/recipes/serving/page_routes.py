"""The web page, and how a picture is cut, which it asks for as soon as it has one."""

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response

from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, VisionLanguageModel, image_size
from recipes.reports.views import Shown, in_order, shown_views
from recipes.serving.api import Strict
from recipes.serving.errors import refusing
from recipes.serving.fetching import Fetcher
from recipes.serving.pictures import picture_bytes
from recipes.serving.prompts import PictureUrl
from recipes.serving.worker import Worker, worker_of

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/server.js": ("server.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
}
"""The files of the page by their paths, with their types."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""The page loads nothing from elsewhere, and nothing shows it inside of another page."""


class CutQuestion(Strict):
    """How does a model cut a picture?"""

    model: str
    picture: str


def add_page(app: FastAPI, workers: Mapping[str, Worker], fetcher: Fetcher, preparing: asyncio.Semaphore) -> None:
    """Add the page at `/`, and the route of its views.

    Args:
        app: gets the routes.
        workers: by the name of their model.
        fetcher: fetches pictures.
        preparing: lets so many requests decode their pictures at a time.
    """
    for path, (name, kind) in PAGE.items():
        content = files("recipes.serving").joinpath("page", name).read_bytes()
        response = Response(content, headers=HEADERS, media_type=kind)
        app.add_api_route(path, _same(response), methods=["GET"], include_in_schema=False)

    @app.post("/views")
    async def views(asked: CutQuestion) -> dict[str, Any]:
        worker = worker_of(workers, asked.model)
        data = await picture_bytes(PictureUrl(asked.picture, "picture"), fetcher)
        with refusing():
            async with preparing:
                # Some pictures can only be measured by decoding them.
                return await asyncio.to_thread(lambda: cut_of(worker.model, image_size(data)))


def cut_of(model: VisionLanguageModel, size: Size) -> dict[str, Any]:
    """The views of a picture of this size, and what padding and squashing cost.

    Raises:
        ValueError: if the model cannot process such a picture.
        NotImplementedError: if the plan does not say what its views show.
    """
    plan, shown, ids = model.processor.plan, shown_views(model, size), model.processor.picture_ids(size)
    pixels = sum(each.view.area for each in shown)
    return {
        "width": size.width,
        "height": size.height,
        "views": [_view(each) for each in shown],
        "visual_tokens": ids.count(IMAGE_TOKEN_ID),
        "order": in_order((*plan.before(0), *plan.layout(size)), plan.inputs),
        "padding": sum(each.padding * each.view.area for each in shown) / pixels,
        "squash": max(max(each.squash, 1 / each.squash) for each in shown),
    }


def _view(shown: Shown) -> dict[str, Any]:
    box = shown.box
    return {
        "width": shown.view.width,
        "height": shown.view.height,
        "box": [box.left, box.top, box.right, box.bottom],
        "scale": shown.scales,
        "padding": shown.padding,
        "tokens": shown.tokens,
    }


def _same(response: Response) -> Any:
    async def route() -> Response:
        return response

    return route
