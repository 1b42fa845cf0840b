"""Compare two processes with one, and FSDP2 with DDP, on the CPU: `python -m tools.bench.ranks`.

All ways run the same steps of the default run (`uhd.yaml`) with gloo, one thread per process, and the same number of
pages per step over all ranks; their losses must agree. FSDP2 shards every decoder layer, and the rest as one root
group. Ways take turns in the same processes, so that a busy moment affects all of them. `--tiny`: two steps of four
pages.
"""

import argparse
import os
import socket
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from foveal.models import IGNORE_INDEX, Batch, VisionLanguageModel
from tools.bench import default_run
from tools.bench.timing import machine

RANKS = 2
WAYS = ("one rank", "two ranks, DDP", "two ranks, FSDP2")
TOLERANCE = 1e-3


class Loss(nn.Module):
    """`VisionLanguageModel.loss` as `forward`, which both wrappers hook."""

    def __init__(self, network: VisionLanguageModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        return self.network.loss(batch).total


def wrapped(way: str) -> nn.Module:
    """The default run's model wrapped for one of the ways, with the same weights in each."""
    torch.manual_seed(0)
    network = default_run.module().network
    loss = Loss(network)
    if way == "two ranks, DDP":
        return DistributedDataParallel(loss)
    if way == "two ranks, FSDP2":
        mesh = init_device_mesh("cpu", (RANKS,))
        for layer in network.language_model.get_decoder().layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(loss, mesh=mesh)
    return loss


def step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, tokens: int, ranks: int) -> float:
    """One optimizer step; returns the summed loss of this rank. `tokens`: supervised tokens of all ranks."""
    loss = model(batch)
    # Wrappers average over ranks.
    (loss * ranks / tokens).backward()
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def measured(rank: int, port: int, results: Path, size: int, steps: int) -> None:
    """The work of one process; the first one writes the seconds of every step and the losses of every way."""
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=RANKS)
    whole = default_run.batches(default_run.module(), steps, size=size)
    own = default_run.batches(default_run.module(), steps * RANKS, size=size // RANKS)[rank::RANKS]
    found: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in WAYS}
    models = {way: wrapped(way) for way in WAYS if rank == 0 or way != "one rank"}
    # AdamW in all ways: on shards Muon's iteration needs the whole matrices, which is not compared here.
    optimizers = {way: torch.optim.AdamW(model.parameters(), lr=1e-3) for way, model in models.items()}
    for number in range(steps):
        supervised = int((whole[number].labels[:, 1:] != IGNORE_INDEX).sum())
        for way in WAYS:
            ranks = 1 if way == "one rank" else RANKS
            distributed.barrier()
            start = time.perf_counter()
            loss = 0.0
            if rank < ranks:
                batch = whole[number] if ranks == 1 else own[number]
                loss = step(models[way], optimizers[way], batch, supervised, ranks)
            summed = torch.tensor(loss)
            distributed.all_reduce(summed)
            found[way][0].append(time.perf_counter() - start)
            found[way][1].append(float(summed) / supervised)
    if rank == 0:
        torch.save(found, results)
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    """Check, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few pages and steps, to check that everything runs")
    tiny = parser.parse_args().tiny
    size, steps = (4, 3) if tiny else (default_run.BATCH, 15)
    with socket.socket() as free, tempfile.TemporaryDirectory() as temporary:
        free.bind(("127.0.0.1", 0))
        port, results = free.getsockname()[1], Path(temporary) / "results"
        free.close()
        spawn(measured, args=(port, results, size, steps), nprocs=RANKS)
        found = torch.load(results, weights_only=True)
    for way in WAYS[1:]:
        pairs = zip(found[way][1], found["one rank"][1], strict=True)
        if (apart := max(abs(one - other) for one, other in pairs)) > TOLERANCE:
            raise AssertionError(f"{way}: losses are {apart:.1e} away from those of one rank")
    seconds = {way: median(found[way][0][1:]) for way in WAYS}
    print(machine())
    print(
        f"\n`uhd.yaml` with AdamW: steps of {size} pages of all ranks together, gloo, one thread a rank, median of "
        f"{steps - 1}; losses agree to {TOLERANCE:.0e}\n"
    )
    print("| | ms a step | times one rank | times DDP |\n|---|---|---|---|")
    for way, spent in seconds.items():
        over_ddp = "" if way == "one rank" else f"{spent / seconds['two ranks, DDP']:.2f}"
        print(f"| {way} | {spent * 1e3:.1f} | {spent / seconds['one rank']:.2f} | {over_ddp} |")


if __name__ == "__main__":
    main()
