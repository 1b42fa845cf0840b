"""Load on the server: answers per second of 32 clients against one, lost answers, memory, and hostile clients.

`python -m tools.bench.serving` serves the tiny model of `uhd.yaml`, untrained, in a process of its own. One client and
all clients take turns, so that a busy moment affects both. Then come requests that cannot be answered, and clients that
leave in the middle of an answer.
"""

import argparse
import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL.Image import Image

from foveal.models import save
from recipes.command_line.console import calm
from recipes.data.pages import PageSettings, draw_page
from tools.bench.default_run import module
from tools.bench.malformed import malformed
from tools.bench.quantize import memory
from tools.bench.serving_clients import Counted, ask, leave, metric, refused
from tools.bench.timing import machine

MODEL = "tiny"
CLIENTS = 32
ALONE, TOGETHER = 6.0, 54.0
"""Seconds of a turn of one client, and of all of them."""
FREED_SECONDS = 30.0


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """A server for a new tiny model: its address and its process."""
    save(module().network.eval(), folder / MODEL)
    words = [sys.executable, "-m", "recipes.serve", MODEL, "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        line = ""
        while process.stderr and "serving" not in line:
            line = process.stderr.readline()
            if not line:
                raise RuntimeError("the server did not begin")
        found = re.search(r"http://[\d.:]+", line)
        yield found[0] if found else "", process.pid
    finally:
        process.terminate()
        process.wait(60)


def loaded(
    url: str, process: int, pictures: list[bytes], *, turns: int, part: float
) -> tuple[Counted, Counted, list[float]]:
    """What one client and all clients have seen, and the memory after each turn."""
    alone, together, used = Counted(), Counted(), []
    asyncio.run(ask(url, MODEL, pictures, clients=CLIENTS, seconds=2.0, seed=0))
    for turn in range(1, turns + 1):
        for counted, clients, seconds in ((alone, 1, ALONE * part), (together, CLIENTS, TOGETHER * part)):
            one = asyncio.run(ask(url, MODEL, pictures, clients=clients, seconds=seconds, seed=turn))
            counted.seconds += one.seconds
            counted.reasons += one.reasons
            counted.spent += one.spent
        used.append(memory("VmRSS", process) / 1e6)
        print(f"turn {turn}: {len(together.seconds)} answers, {used[-1]:.0f} MB", file=sys.stderr, flush=True)
    return alone, together, used


def freed(url: str) -> float:
    """Seconds until nothing is answered any more."""
    began = time.monotonic()
    while metric(url, f'foveal_running{{model="{MODEL}"}}') or metric(url, f'foveal_waiting{{model="{MODEL}"}}'):
        if time.monotonic() > began + FREED_SECONDS:
            raise RuntimeError("clients that left still keep their places")
        time.sleep(0.01)
    return time.monotonic() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=10, help="of load (default: 10)")
    parser.add_argument("--tiny", action="store_true", help="a few seconds, to check that everything runs")
    given = parser.parse_args()
    calm()
    turns, part, hostile = (2, 0.03, 80) if given.tiny else (given.minutes, 1.0, 1000)
    pictures = [_encoded(draw_page(PageSettings(), 0, number).image) for number in range(64)]
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (url, process):
        alone, together, used = loaded(url, process, pictures, turns=turns, part=part)
        statuses = refused(url, list(malformed(hostile, MODEL, pictures[0])))
        asyncio.run(leave(url, MODEL, pictures[0], clients=CLIENTS))
        seconds = freed(url)
        after = asyncio.run(ask(url, MODEL, pictures[:1], clients=1, seconds=0.1, seed=0))
    print(f"{machine()}; load of the machine {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores\n")
    print("| clients | answers | lost | answers/s | times one client | half within | 99 of 100 within |")
    print("|---|---|---|---|---|---|---|")
    for clients, each in ((1, alone), (CLIENTS, together)):
        print(
            f"| {clients} | {len(each.seconds)} | {each.lost} | {each.rate:.1f} | {each.rate / alone.rate:.2f} | "
            f"{each.quantile(0.5) * 1e3:.0f} ms | {each.quantile(0.99) * 1e3:.0f} ms |"
        )
    half = len(used) // 2
    print(f"\nmemory after the first turn {used[0]:.0f} MB, half-way {used[half]:.0f} MB, at the end {used[-1]:.0f} MB")
    print(f"{hostile} malformed requests, by status: {statuses}")
    print(f"{CLIENTS} clients left at the first piece of their answers: all places were free after {seconds:.2f} s")
    for reason in (*alone.reasons, *together.reasons, *after.reasons):
        print(f"lost: {reason}", file=sys.stderr)
    if alone.lost + together.lost + after.lost or not all(400 <= status < 500 for status in statuses):
        raise SystemExit("something was lost, or a malformed request was no client's error")


def _encoded(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    main()
