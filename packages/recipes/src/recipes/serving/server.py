"""Run the application until it is told to stop, and let what is being answered end first."""

import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from recipes.serving.limits import State
from recipes.serving.protocol import Protocol

IDLE_SECONDS = 75
"""Time until an idle connection is closed: longer than clients keep theirs, or one would send into a closed one."""
LEAVING_SECONDS = 5
"""Time for clients to read the end of their answers, and to close their connections."""


class Server(uvicorn.Server):
    """Answers until SIGTERM or Ctrl-C; then it refuses new requests, and ends with the last answer.

    It listens as long, so that new requests are refused with a reason and not with silence.

    Args:
        guarded: the application with its limits.
        state: counts what is being answered.
    """

    def __init__(self, guarded: ASGIApp, state: State) -> None:
        config = uvicorn.Config(
            guarded,
            http=Protocol,
            lifespan="off",  # the application has none, and a second signal would end it with a traceback
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=LEAVING_SECONDS,
        )
        super().__init__(config)
        self.state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """At the first signal new requests are refused, at the second all answers end."""
        if self.state.draining:
            self.force_exit = self.should_exit = True
            return
        self.state.draining = True
        if self.state.active:
            sys.stderr.write(f"stopping after {self.state.active} answers; once more: at once\n")

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to end."""
        return await super().on_tick(counter) or (self.state.draining and not self.state.active)
