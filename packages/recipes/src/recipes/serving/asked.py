"""A question on its way: what was asked, and where its answer goes."""

import asyncio
import time
from dataclasses import dataclass, field
from threading import Event

from foveal.models import IMAGE_TOKEN_ID, Sample
from recipes.serving.errors import RefusedError
from recipes.serving.responses import Usage


@dataclass(frozen=True)
class Settings:
    """How a question is answered.

    Attributes:
        max_new_tokens: longest answer in tokens.
        temperature: 0 takes the likeliest token.
        top_p: sample from the likeliest tokens whose probabilities add up to this much.
        seed: of the sampling; None: a new one each time.
        stops: texts that end the answer.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """The end of an answer: why (`stop` or `length`), and how many tokens it has."""

    reason: str
    usage: Usage


Piece = str | Ended | RefusedError


@dataclass(eq=False)
class Asked:
    """One question. Its pieces are put by the thread that answers and taken by the event loop it was made in.

    Attributes:
        sample: the prompt.
        settings: how it is answered.
        left: set when nobody waits for the answer any more.
        began: `time.monotonic` of the question.
    """

    sample: Sample
    settings: Settings
    left: Event = field(default_factory=Event)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()

    @property
    def visual(self) -> int:
        """Tokens of pictures in the prompt."""
        return int((self.sample.input_ids == IMAGE_TOKEN_ID).sum())

    def put(self, piece: Piece) -> None:
        """Pass on a piece, from any thread."""
        # The loop is closed if the server ends without waiting.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def take(self) -> str | Ended:
        """The next piece: text, or the end.

        Raises:
            RefusedError: if the answer cannot be completed.
        """
        piece = await self._pieces.get()
        if isinstance(piece, RefusedError):
            raise piece
        return piece

    async def whole(self) -> tuple[str, Ended]:
        """The whole answer.

        Raises:
            RefusedError: as for `take`.
        """
        pieces: list[str] = []
        while isinstance(piece := await self.take(), str):
            pieces.append(piece)
        return "".join(pieces), piece
