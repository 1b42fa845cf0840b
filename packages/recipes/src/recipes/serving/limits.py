"""What every request passes before anything is done for it: host, site, key, room, size, time."""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recipes.serving.errors import RETRY_AFTER, RefusedError, stopping
from recipes.serving.metrics import Metrics
from recipes.serving.page_routes import PAGE

MAX_BODY = 64_000_000
"""Bytes of a request; a picture of 20 MB has 27 MB in base64."""
MAX_BODIES = 8 * MAX_BODY
"""Bytes of all requests for answers at a time: each stays in memory, as sent and as parsed, until its answer ends."""
BODY_SECONDS, SEND_SECONDS = 60.0, 60.0
OPEN = ("/health", *PAGE)
"""Paths that can be read without a key: what the server says to anybody, and the page that asks for the key."""
POSTED = ("/v1/chat/completions", "/views", "/explain")
"""Paths of requests for answers. What is posted to any other path is not read."""


@dataclass
class State:
    """What is going on.

    Attributes:
        active: requests for answers that are not over.
        body_bytes: of those, as they were sent.
        draining: whether new ones are refused because the server stops.
    """

    active: int = 0
    body_bytes: int = 0
    draining: bool = False


class Incoming:
    """`receive` that remembers whether the body has ended: after that, it waits until the client leaves."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.ended = receive, False

    async def __call__(self) -> Message:
        """The next message."""
        message = await self.receive()
        self.ended = not message.get("more_body", False)
        return message


class Guard:
    """Refuses what may not or cannot be answered, and reads the bodies of the others.

    Args:
        app: gets what passes.
        state: counts what passes.
        metrics: counts what does not.
        max_requests: most requests for answers at a time.
        key: what clients must send as `Authorization: Bearer KEY`; None: nothing.
        hosts: names by which the server may be asked, without port; None: any. A page that a browser shows could
            otherwise reach a server on the user's machine by a name of its own (DNS rebinding).
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: State,
        metrics: Metrics,
        max_requests: int,
        key: str | None = None,
        hosts: Sequence[str] | None = None,
    ) -> None:
        self.app, self.state, self.metrics, self.max_requests = app, state, metrics, max_requests
        self.key, self.hosts = key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._answer(scope, receive, noticed)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # the server ends at once
            if not begun:
                await stopping().response()(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, receive = Headers(scope=scope), Incoming(receive)
        if (refused := self._refused(scope, headers)) is not None:
            await self._refuse(refused, scope, receive, send)
        elif _is_question(scope):
            await self._counted(scope, headers, receive, send)
        else:
            await self.app(scope, _preceded(b"", receive), self._timed(send))

    async def _counted(self, scope: Scope, headers: Headers, receive: Incoming, send: Send) -> None:
        self.state.active += 1
        try:
            await self._with_body(scope, headers, receive, send)
        finally:
            self.state.active -= 1

    def _refused(self, scope: Scope, headers: Headers) -> RefusedError | None:
        if self.hosts is not None and _name(headers.get("host", "")) not in self.hosts:
            return RefusedError(421, "this server is not known by that name; start it with --host to open it to others")
        posts = scope["method"] == "POST"
        # Without a key, any page that a browser shows could otherwise make the user's own server work.
        if posts and headers.get("sec-fetch-site") == "cross-site":
            return RefusedError(403, "a web page of another site asks: use this server's own page, or a program")
        if self.key is not None and (posts or scope["path"] not in OPEN):
            given = headers.get("authorization", "").partition(" ")
            # Compared in constant time, so that it cannot be guessed letter by letter.
            if given[0].lower() != "bearer" or not hmac.compare_digest(given[2].encode(), self.key.encode()):
                return RefusedError(401, "the API key is missing or wrong", code="invalid_api_key")
        if not _is_question(scope):
            return None
        if self.state.draining:
            return stopping()
        if self.state.active >= self.max_requests:
            return _full(f"{self.state.active} requests are being answered or wait")
        return None

    async def _with_body(self, scope: Scope, headers: Headers, receive: Incoming, send: Send) -> None:
        try:
            body = await self._body(headers, receive)
        except RefusedError as refused:
            await self._refuse(refused, scope, receive, send)
            return
        size, received = len(body), _preceded(body, receive)
        del body
        try:
            await self.app(scope, received, self._timed(send))
        finally:
            self.state.body_bytes -= size

    async def _body(self, headers: Headers, receive: Incoming) -> bytes:
        """The body of a request, which `State.body_bytes` counts from its first piece on.

        Raises:
            RefusedError: if it is too large, alone or with those of others, or comes too slowly.
            ClientDisconnect: if the client leaves.
        """
        too_large = RefusedError(413, f"the request has more than {MAX_BODY // 10**6} MB: use smaller pictures")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            raise too_large
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    self.state.body_bytes += len(pieces[-1])
                    if size > MAX_BODY:
                        raise too_large
                    if self.state.body_bytes > MAX_BODIES:
                        raise _full(f"all requests together have more than {MAX_BODIES // 10**6} MB")
                    if receive.ended:
                        return b"".join(pieces)
        except BaseException as error:
            self.state.body_bytes -= size
            pieces.clear()  # the error keeps this frame, and the client is waited for
            if isinstance(error, TimeoutError):
                raise RefusedError(408, f"the request did not arrive within {BODY_SECONDS:.0f} s") from None
            raise

    def _timed(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self.metrics.refused.labels(str(message["status"])).inc()
            # A client that takes nothing any more keeps its place no longer than this.
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        return sent

    async def _refuse(self, refused: RefusedError, scope: Scope, receive: Incoming, send: Send) -> None:
        """Answer with an error; what the client still sends is read first, or it would not look for an answer."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                left = MAX_BODY
                while left > 0 and not receive.ended:
                    left -= len((await receive()).get("body", b""))
        except TimeoutError:
            pass
        await refused.response()(scope, receive, self._timed(send))


def _is_question(scope: Scope) -> bool:
    return scope["method"] == "POST" and scope["path"] in POSTED


def _full(why: str) -> RefusedError:
    return RefusedError(429, f"{why}: try again in a moment", code="queue_full", headers=RETRY_AFTER)


def _preceded(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body has been read, or is not to be read."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return first.pop() if first else await receive()

    return received


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
