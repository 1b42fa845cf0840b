"""HTTP with a time limit for what comes before a request's body, and after its answer."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20.0
"""Time for the first line and the headers of a request, until a new connection sends anything, and for the rest of a
request that has been answered."""


class Protocol(H11Protocol):
    """uvicorn's own protocol, which waits forever for the end of headers that have begun, and of a body that it has
    answered before its end: a client that sends them letter by letter would keep its connection, and the server has
    only so many.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # At any byte uvicorn stops its own clock, which it starts again after the next answer only.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._watch()
        else:
            self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._close)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()
