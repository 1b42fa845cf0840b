"""The web page, and what it asks besides answers: how a picture is cut, and where a model looked."""

import asyncio
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI, Response
from PIL import Image

from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, VisionLanguageModel, explain, image_size, read_image
from recipes.reports.views import Shown, in_order, shown_views
from recipes.serving.api import Strict
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher
from recipes.serving.pictures import picture_bytes
from recipes.serving.prompts import PictureUrl
from recipes.serving.worker import Worker, worker_of

T = TypeVar("T")
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
MAP_SIDE = 64
"""Most rows and columns of a relevance map that is sent."""


class CutQuestion(Strict):
    """How does a model cut a picture?"""

    model: str
    picture: str


class LookedQuestion(Strict):
    """Where did a model look for the words of its answer?"""

    model: str
    picture: str
    question: str
    answer: str


def add_page(app: FastAPI, workers: Mapping[str, Worker], fetcher: Fetcher) -> None:
    """Add the page at `/` and its routes.

    Args:
        app: gets the routes.
        workers: by the name of their model.
        fetcher: fetches pictures.
    """
    for path, (name, kind) in PAGE.items():
        content = files("recipes.serving").joinpath("page", name).read_bytes()
        response = Response(content, headers=HEADERS, media_type=kind)
        app.add_api_route(path, _same(response), methods=["GET"], include_in_schema=False)

    @app.post("/views")
    async def views(asked: CutQuestion) -> dict[str, Any]:
        worker = worker_of(workers, asked.model)
        data = await picture_bytes(PictureUrl(asked.picture, "picture"), fetcher)
        return await asyncio.to_thread(_refusing, lambda: cut_of(worker.model, image_size(data)))

    @app.post("/explain")
    async def looked(asked: LookedQuestion) -> dict[str, Any]:
        worker = worker_of(workers, asked.model)
        data = await picture_bytes(PictureUrl(asked.picture, "picture"), fetcher)

        def explained() -> dict[str, Any]:
            return looked_at(worker.model, read_image(data), asked.question, asked.answer)

        return await asyncio.wrap_future(worker.call(lambda: _refusing(explained)))


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


def looked_at(model: VisionLanguageModel, picture: Image.Image, question: str, answer: str) -> dict[str, Any]:
    """The words of an answer, each with its map over the picture: rows of values in 0..1, 1 at the most relevant place.

    Raises:
        ValueError: as for `foveal.models.explain`.
        NotImplementedError: likewise.
    """
    found = explain(model, picture, question, answer)
    return {"words": [{"word": each.word, "map": _small(each.maps[0])} for each in found.per_word]}


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


def _small(relevance: np.ndarray[Any, np.dtype[np.float32]]) -> list[list[float]]:
    rows, columns = relevance.shape
    shrink = max(rows, columns, MAP_SIDE) / MAP_SIDE
    size = max(round(columns / shrink), 1), max(round(rows / shrink), 1)
    small = np.asarray(Image.fromarray(relevance).resize(size, Image.Resampling.BOX))
    scaled: list[list[float]] = (small / max(float(small.max()), 1e-12)).round(2).tolist()
    return scaled


def _same(response: Response) -> Any:
    async def route() -> Response:
        return response

    return route


def _refusing(made: Callable[[], T]) -> T:
    """What `made` returns; what it cannot do with the picture or the words is the client's error."""
    try:
        return made()
    except (ValueError, NotImplementedError) as error:
        raise RefusedError(400, str(error)) from error
