"""Clients of a server: they ask one after the other, and count what comes back."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from tools.bench.malformed import good

SECONDS = 60.0
"""Longest time for an answer: a longer one counts as lost."""


@dataclass
class Counted:
    """What some clients have seen.

    Attributes:
        seconds: of every answer, from the question to its end.
        reasons: of every question without a whole answer, why.
        spent: seconds that the clients have asked.
    """

    seconds: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    spent: float = 0.0

    @property
    def lost(self) -> int:
        """Questions without a whole answer."""
        return len(self.reasons)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.seconds) / self.spent

    def quantile(self, part: float) -> float:
        """The seconds within which this part of the answers ended."""
        return sorted(self.seconds)[min(int(part * len(self.seconds)), len(self.seconds) - 1)]


async def ask(url: str, model: str, pictures: Sequence[bytes], *, clients: int, seconds: float, seed: int) -> Counted:
    """Ask for some time; half of the answers are streamed.

    Args:
        url: of the server, without a path.
        model: who is asked.
        pictures: encoded; each question is about one of them.
        clients: how many ask at the same time.
        seconds: after which no client asks again.
        seed: of the questions.
    """
    counted, began = Counted(), time.monotonic()
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS, limits=limits) as client:

        async def one(number: int) -> None:
            draw = random.Random(seed * 1000 + number)
            while time.monotonic() < began + seconds:
                body = good(model, draw.choice(pictures)) | {"max_tokens": 32, "stream": draw.random() < 0.5}
                start = time.monotonic()
                if reason := await _missing(client, body):
                    counted.reasons.append(reason)
                else:
                    counted.seconds.append(time.monotonic() - start)

        await asyncio.gather(*map(one, range(clients)))
    counted.spent = time.monotonic() - began
    return counted


async def _missing(client: httpx.AsyncClient, body: dict[str, object]) -> str:
    """Why there is no whole answer, with its usage or its `[DONE]`; empty if there is one."""
    try:
        answer = await client.post("/v1/chat/completions", json=body)
    except httpx.HTTPError as error:
        return repr(error)
    if answer.status_code != 200:
        return f"status {answer.status_code}: {answer.text[:200]}"
    if body["stream"]:
        return "" if answer.text.endswith("data: [DONE]\n\n") else f"an end like {answer.text[-200:]!r}"
    return "" if answer.json()["usage"]["completion_tokens"] else "no tokens"


async def leave(url: str, model: str, picture: bytes, *, clients: int) -> None:
    """Begin long answers, and close every connection at its first piece."""
    body = good(model, picture) | {"max_tokens": 400, "stream": True}
    async with httpx.AsyncClient(base_url=url, timeout=SECONDS) as client:

        async def one() -> None:
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for _ in answer.aiter_bytes():
                    break

        await asyncio.gather(*(one() for _ in range(clients)))


def refused(url: str, bodies: Sequence[bytes]) -> dict[int, int]:
    """How many answers had each status; a request that is not answered within `SECONDS` is an error."""
    statuses: dict[int, int] = {}
    with httpx.Client(base_url=url, timeout=SECONDS, headers={"content-type": "application/json"}) as client:
        for body in bodies:
            status = client.post("/v1/chat/completions", content=body).status_code
            statuses[status] = statuses.get(status, 0) + 1
    return dict(sorted(statuses.items()))


def metric(url: str, line: str) -> float:
    """A value of /metrics, by everything that stands before it."""
    found = [each for each in httpx.get(f"{url}/metrics").text.splitlines() if each.startswith(line + " ")]
    return float(found[0].split()[-1]) if found else 0.0
