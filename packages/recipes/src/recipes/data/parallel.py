"""Work on many samples, in several processes if there are many."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from recipes.data.loader import blocked
from recipes.data.ranks import end_with_parent

Result = TypeVar("Result")
CHUNK = 512
FEW = 20_000
"""Number of samples up to which it takes longer to start processes than to do the work."""
MOST = 16


def in_chunks(
    work: Callable[[range], Result], count: int, label: str, *, parallel: bool | None = None
) -> Iterator[Result]:
    """Yield what `work` returns for each chunk of the numbers 0 to `count` - 1, in order.

    A bar shows the progress if there are many and standard error is a terminal.

    Args:
        work: takes a chunk; it and its results are sent between processes.
        count: number of samples.
        label: what is done, in front of the bar.
        parallel: share the work among all cores; None: if there are more than `FEW` samples.
    """
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    console = Console(file=sys.stderr)
    shared = count > FEW if parallel is None else parallel
    shown = console.is_terminal and (shared or len(chunks) > 1)

    def followed(results: Iterator[Result]) -> Iterator[Result]:
        yield from track(results, escape(label), len(chunks), console=console, transient=True, disable=not shown)

    processes = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST)
    if processes == 1 or not shared:
        yield from followed(map(work, chunks))
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=end_with_parent)
    try:
        with blocked():
            results = pool.map(work, chunks)
        yield from followed(results)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def counting(label: str) -> Iterator[Callable[[Iterable[Result]], Iterator[Result]]]:
    """Yield a function that passes items on, and shows their number if standard error is a terminal.

    Args:
        label: what is done, in front of the number.
    """
    console = Console(file=sys.stderr)
    with console.status(escape(label)) if console.is_terminal else nullcontext() as status:

        def counted(items: Iterable[Result]) -> Iterator[Result]:
            for number, item in enumerate(items, start=1):
                if status is not None and number % CHUNK == 0:
                    status.update(f"{escape(label)}: {number:,} records")
                yield item

        yield counted
