"""Refusals, as OpenAI's clients understand them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi.responses import JSONResponse

TOO_LONG = "context_length_exceeded"
RETRY_AFTER = {"Retry-After": "1"}


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of the response.
        message: what is wrong, and what to do; it is shown to the client.
        param: name of the parameter that is wrong.
        code: a word that programs can compare.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def content(self) -> dict[str, object]:
        """The body of the response, OpenAI's error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.content, self.status, self.headers)


def internal_error() -> RefusedError:
    """What a client is told about a fault of the server: nothing but that; the rest is in the server's log."""
    return RefusedError(500, "an error in the server; its log has more", code="internal_error")


def stopping() -> RefusedError:
    """What a client is told that asks, or still waits, when the server stops."""
    return RefusedError(503, "the server stops", code="stopping", headers=RETRY_AFTER)


def model_failed() -> RefusedError:
    """What a client is told whose question nobody answers, since the thread that answers with its model has ended."""
    return RefusedError(503, "the model answers no more; the server's log says why", code="model_failed")


def out_of_memory() -> RefusedError:
    """What a client is told when a GPU has no room for its question beside those of others."""
    return RefusedError(503, "not enough memory for this question now: try again", code="out_of_memory")


@contextmanager
def refusing() -> Iterator[None]:
    """Context in which what cannot be done with a picture or a text is the client's error.

    Raises:
        RefusedError: for any `ValueError` or `NotImplementedError`.
    """
    try:
        yield
    except (ValueError, NotImplementedError) as error:
        raise RefusedError(400, str(error)) from error
