"""The routes of the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from recipes.serving.api import ONLY, ChatRequest
from recipes.serving.asked import Asked
from recipes.serving.errors import RefusedError, internal_error
from recipes.serving.explanations import add_explanations
from recipes.serving.fetching import Fetcher
from recipes.serving.leaving import LEFT, unless_gone
from recipes.serving.limits import State
from recipes.serving.metrics import Metrics
from recipes.serving.page_routes import add_page
from recipes.serving.pictures import all_picture_bytes
from recipes.serving.prompts import check_number, picture_urls, prompt_of, settings_of, turns_of
from recipes.serving.responses import DONE, Reply, event
from recipes.serving.worker import Worker, worker_of

LONGEST_SAID = 200
PREPARED_TOGETHER = 2
"""Requests whose pictures are decoded at a time; each may take the memory of fifty million pixels."""


def make_app(
    workers: Mapping[str, Worker], *, max_new_tokens: int, fetcher: Fetcher, metrics: Metrics, state: State
) -> FastAPI:
    """The application without its limits, which `recipes.serving.limits.Guard` adds.

    Args:
        workers: by the name of their model.
        max_new_tokens: longest answer, if a request does not say.
        fetcher: fetches pictures.
        metrics: what is shown as `/metrics`.
        state: whether the server stops.
    """
    # Without the pages that describe the API, which load scripts from another host.
    app = FastAPI(title="Foveal", docs_url=None, redoc_url=None)
    preparing = asyncio.Semaphore(PREPARED_TOGETHER)
    created = int(time.time())
    _add_errors(app)
    add_page(app, workers, fetcher, preparing)
    add_explanations(app, workers, fetcher, preparing)

    @app.get("/health")
    async def health() -> Response:
        if state.draining:
            return JSONResponse({"status": "stopping"}, 503)
        if any(worker.failed for worker in workers.values()):
            return JSONResponse({"status": "failed"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def all_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name, created) for name in workers]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        worker_of(workers, name)
        return _model(name, created)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        worker = worker_of(workers, body.model)
        settings, turns, urls = settings_of(body, max_new_tokens), turns_of(body.messages), picture_urls(body)
        check_number(worker.model, len(urls))
        pictures = await all_picture_bytes(urls, fetcher)
        async with preparing:
            sample = await asyncio.to_thread(prompt_of, worker.model, turns, pictures, settings.max_new_tokens)
        del pictures
        asked, reply = Asked(sample, settings), Reply(body.model)
        worker.ask(asked)
        if body.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            # Proxies would otherwise collect the pieces.
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(_events(asked, reply, with_usage), headers=headers, media_type="text/event-stream")
        try:
            answer = await unless_gone(request, asked.whole())
        finally:
            asked.left.set()
        if answer is None:
            return Response(status_code=LEFT)
        text, ended = answer
        return JSONResponse(reply.completion(text, ended.reason, ended.usage))

    return app


async def _events(asked: Asked, reply: Reply, with_usage: bool) -> AsyncIterator[bytes]:
    """The answer in pieces; if nobody reads them any more, its place is freed."""
    try:
        yield reply.chunk({"role": "assistant", "content": ""})
        while isinstance(piece := await asked.take(), str):
            yield reply.chunk({"content": piece})
        yield reply.chunk({}, piece.reason)
        if with_usage:
            yield reply.last_chunk(piece.usage)
        yield DONE
    except RefusedError as error:
        yield event(error.content)
    finally:
        asked.left.set()


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "foveal"}


def _add_errors(app: FastAPI) -> None:
    """Every error has OpenAI's shape, and none says more than the client needs."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _invalid(error.errors()).response()

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        return RefusedError(error.status_code, str(error.detail), headers=error.headers).response()

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return internal_error().response()


def _invalid(errors: Sequence[Any]) -> RefusedError:
    """The first thing that is wrong with a request, by its place in it."""
    first = errors[0]
    where = ""
    for step in first["loc"][1:]:
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else str(step)
    where, said = where[:LONGEST_SAID], str(first["msg"])[:LONGEST_SAID]
    if first["type"] == "json_invalid" or not where:
        return RefusedError(400, "the request is not a JSON object, sent as application/json")
    if first["type"] == "extra_forbidden":
        return RefusedError(400, f"{where}: there is no such parameter, or it is not supported", param=where)
    if (name := first["loc"][1]) in ONLY:
        return RefusedError(400, f"{name}: only {ONLY[name]} is supported", param=str(name))
    return RefusedError(400, f"{where}: {said}", param=where)
