"""Several processes that act as the ranks of one run, on the CPU over gloo."""

import multiprocessing
import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

HEAVY = ["lightning.pytorch", "transformers.models.llama", "transformers.models.qwen3", "recipes.sharding", "peft"]
"""Imported once, by the process from which all ranks are forked."""


def on_ranks(size: int, function: Callable[..., Any], *arguments: Any, seconds: float = 240) -> list[Any]:
    """The results of `function(*arguments)` on each of `size` ranks, started like torchrun does.

    Args:
        size: number of processes, with one thread each. With 1 there is no process group.
        function: defined in a module, so that the processes can import it; its result is pickled.
        arguments: pickled too.
        seconds: time after which ranks that still wait for each other are ended.

    Raises:
        AssertionError: with the traceback of the first rank that failed, or if they did not end.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends, processes = [], []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_one, args=(rank, size, port, theirs, function, arguments), daemon=True)
        process.start()
        theirs.close()
        ends.append(ours)
        processes.append(process)
    try:
        return _collected(ends, time.monotonic() + seconds)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _collected(ends: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(ends):
        open_ends = [end for rank, end in enumerate(ends) if rank not in results]
        ready = wait(open_ends, timeout=max(0.0, deadline - time.monotonic()))
        assert ready, f"ranks {[rank for rank in range(len(ends)) if rank not in results]} did not end in time"
        for end in ready:
            rank = ends.index(end)  # type: ignore[arg-type]  # only connections were waited for
            try:
                failed, results[rank] = pickle.loads(end.recv_bytes())  # type: ignore[union-attr]
            except EOFError:
                failed, results[rank] = True, "it died"
            assert not failed, f"rank {rank}: {results[rank]}"
    return [results[rank] for rank in range(len(ends))]


def _one(
    rank: int, size: int, port: int, end: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    import torch

    torch.set_num_threads(1)
    if size > 1:
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "TORCHELASTIC_RUN_ID": "tests",
        }
    try:
        result = False, function(*arguments)
    except Exception:
        result = True, traceback.format_exc()
    # As bytes: torch would pass tensors through memory that ends with this process.
    end.send_bytes(pickle.dumps(result))
    end.close()
