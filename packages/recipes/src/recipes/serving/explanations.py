"""The route that says where a model looked for the words of its answer."""

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

from foveal.models import Turn, VisionLanguageModel, image_size, read_image
from foveal.models.prompts.templates import with_pictures
from foveal.models.relevance.explainer import Explainer
from recipes.serving.api import Strict
from recipes.serving.errors import RETRY_AFTER, RefusedError, refusing
from recipes.serving.fetching import Fetcher
from recipes.serving.leaving import LEFT, unless_gone
from recipes.serving.pictures import picture_bytes
from recipes.serving.prompts import PictureUrl
from recipes.serving.worker import Worker, worker_of

MOST_TOKENS = 256
"""Longest answer that is explained, in tokens with those that enclose it: each word takes about as long as a prompt."""
MOST_AT_A_TIME = 4
"""Explanations of one model that are made or wait; each waits with its views in memory."""
MAP_SIDE = 64
"""Most rows and columns of a relevance map that is sent."""


class LookedQuestion(Strict):
    """Where did a model look for the words of its answer?"""

    model: str
    picture: str
    question: str
    answer: str


def add_explanations(
    app: FastAPI, workers: Mapping[str, Worker], fetcher: Fetcher, preparing: asyncio.Semaphore
) -> None:
    """Add the route.

    Args:
        app: gets the route.
        workers: by the name of their model.
        fetcher: fetches pictures.
        preparing: lets so many requests decode their pictures at a time.
    """
    under_way: Counter[str] = Counter()

    @app.post("/explain")
    async def looked(asked: LookedQuestion, request: Request) -> Response:
        worker = worker_of(workers, asked.model)
        if under_way[asked.model] >= MOST_AT_A_TIME:
            message = f"{MOST_AT_A_TIME} answers are being explained or wait: try again in a moment"
            raise RefusedError(429, message, code="queue_full", headers=RETRY_AFTER)
        under_way[asked.model] += 1
        try:
            data = await picture_bytes(PictureUrl(asked.picture, "picture"), fetcher)
            async with preparing:
                explainer = await asyncio.to_thread(_explainer, worker.model, data, asked)
            del data
            found = await unless_gone(request, asyncio.wrap_future(worker.work(looked_at(explainer))))
        finally:
            under_way[asked.model] -= 1
        return Response(status_code=LEFT) if found is None else JSONResponse(found)


def looked_at(explainer: Explainer) -> Generator[None, None, dict[str, Any]]:
    """The words of an answer, each with its map over the picture: rows of values in 0..1, 1 at the most relevant place.

    Gives way before the maps of each word.

    Raises:
        RefusedError: if the model or its plan does not allow it.
    """
    words = []
    with refusing():
        explainer.read()
        for word in explainer.words:
            yield
            words.append({"word": word.text, "map": _small(explainer.relevance(word.places).maps[0])})
    return {"words": words}


def _explainer(model: VisionLanguageModel, data: bytes, asked: LookedQuestion) -> Explainer:
    """The answer with its picture, ready to be explained; its length is known before the picture is decoded."""
    with refusing():
        turns = [Turn("user", with_pictures(asked.question, 1)), Turn("assistant", asked.answer.strip())]
        tokens = model.processor.measure([image_size(data)], turns).supervised
        if tokens > MOST_TOKENS:
            message = f"the answer has {tokens} tokens, {MOST_TOKENS} at most are explained: give a shorter one"
            raise RefusedError(400, message, param="answer")
        return Explainer(model, [read_image(data)], asked.question, asked.answer)


def _small(relevance: np.ndarray[Any, np.dtype[np.float32]]) -> list[list[float]]:
    rows, columns = relevance.shape
    shrink = max(rows, columns, MAP_SIDE) / MAP_SIDE
    size = max(round(columns / shrink), 1), max(round(rows / shrink), 1)
    small = np.asarray(Image.fromarray(relevance).resize(size, Image.Resampling.BOX))
    # In float64, since hundredths in float32 would be written with all their digits.
    scaled: list[list[float]] = (small.astype(float) / max(float(small.max()), 1e-12)).round(2).tolist()
    return scaled
