"""Time several ways side by side."""

import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from statistics import median

import torch


def fastest(ways: Mapping[str, Callable[[], object]], *, rounds: int = 7) -> dict[str, float]:
    """Seconds of the fastest run of every way; ways take turns, so that a busy moment affects all of them.

    Args:
        ways: functions to run, by name; each is run once before the timing starts.
        rounds: number of timed runs.
    """
    best = dict.fromkeys(ways, float("inf"))
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def medians(
    ways: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of every way; ways take turns, so that a busy moment affects all of them.

    Args:
        ways: functions to run, by name; each is run once before the timing starts.
        device: where they run; it is synchronised before the clock is read.
        rounds: number of timed runs.
        clock: returns seconds; for one thread on a busy machine `time.process_time` is more meaningful than wall time.
    """

    def seconds(way: Callable[[], object]) -> float:
        start = clock()
        way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - start

    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            took = seconds(way)
            if number:
                spent[name].append(took)
    return {name: median(each) for name, each in spent.items()}


def machine() -> str:
    """Processor, cores and versions, for the heading of a table."""
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            processor = next(line.split(":")[1].strip() for line in stream if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "lightning"))
    return f"{processor}, {torch.get_num_threads()} threads, {device}; Python {platform.python_version()}, {versions}"


def row(name: str, ours: float, theirs: float, what: str) -> str:
    """A row of a Markdown table with the speed-up of ours."""
    return f"| {name} | {ours * 1e3:.1f} ms | {theirs * 1e3:.1f} ms | {theirs / ours:.2f} | {what} |"
