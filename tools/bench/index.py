"""Build and open the index of a large file, and read from it: `python -m tools.bench.index`."""

import argparse
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.bench.timing import machine

ANSWER = "It is the answer to the question that was asked before. "


def write(path: Path, samples: int) -> None:
    """Write conversations of text alone, about 0.5 kB each, as JSONL or as a list."""
    listed = path.suffix == ".json"
    with path.open("w", encoding="utf-8") as stream:
        for number in range(samples):
            asked = f"What is in line {number} of the text, and why is it there? "
            talk = [(asked * 2, ANSWER * 4), ("And then?", "Then it ends.")]
            turns = [
                {"from": who, "value": text} for pair in talk for who, text in zip(("human", "gpt"), pair, strict=True)
            ]
            record = json.dumps({"id": str(number), "conversations": turns})
            stream.write(("[" if number == 0 else ",\n") + record if listed else f"{record}\n")
        stream.write("]" if listed else "")


def measured(path: Path, reads: int) -> None:
    """Print a row of the table for one file; run in a process of its own, whose memory is measured."""
    import recipes.data.dataset as _imported  # noqa: F401  # not part of what is measured
    from recipes.data.index.open_records import open_records

    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6

    before, start = resident(), time.perf_counter()
    records = open_records(path)
    built = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before
    start = time.perf_counter()
    records = open_records(path)
    opened = time.perf_counter() - start
    numbers = random.Random(0)
    memory = []
    start = time.perf_counter()
    for number in range(reads):
        records[numbers.randrange(len(records))]
        if number in (reads // 10, reads - 1):
            memory.append(resident())
    each = (time.perf_counter() - start) / reads
    sent = len(pickle.dumps(records)) / 1e3
    print(
        f"| {path.suffix[1:]} | {built:.1f} s | {peak:.0f} MB | {opened * 1e3:.1f} ms | {each * 1e6:.0f} us "
        f"| {memory[-1] - memory[0]:.0f} MB | {sent:.1f} kB |"
    )


def worker(lightning: bool) -> str:
    """Seconds and memory of the imports of a loader worker, without and with Lightning."""
    more = "import lightning.pytorch;" if lightning else ""
    code = (
        f"import time, resource; start = time.perf_counter(); {more} import recipes.data.dataset;"
        "print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    seconds, memory = min(tuple(map(float, run.stdout.split())) for run in runs)
    return f"{seconds:.1f} s, {memory:.0f} MB"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--tiny", action="store_true", help="a thousand samples, to check that everything runs")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    samples = 1000 if options.tiny else options.samples
    if options.file is not None:
        measured(options.file, reads=min(160_000, 4 * samples))
        return
    print(machine())
    print(f"\n{samples} samples of text; reads are random, 16 for each of 10,000 batches\n")
    print("| file | built | memory for it | opened | a read | growth over the reads | sent to a worker |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".jsonl", ".json"):
            path = Path(folder) / f"data{suffix}"
            write(path, samples)
            again = [sys.executable, "-m", "tools.bench.index", "--file", str(path), "--samples", str(samples)]
            subprocess.run(again, check=True, env=os.environ | {"FOVEAL_CACHE": f"{folder}/cache"})
    print(f"\na worker's imports: {worker(lightning=False)}; with Lightning: {worker(lightning=True)}")


if __name__ == "__main__":
    main()
