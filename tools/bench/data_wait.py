"""The share of a step that waits for data: `python -m tools.bench.data_wait`."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from foveal.connectors import PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import Processor, Sample, Turn, UhdPlan, byte_tokenizer, read_image
from foveal.models.prompts.token_count import TokenCount
from recipes.data.dataset import SampleCollator
from recipes.data.loader import TrainLoader
from tools.bench.timing import machine

TURNS = [Turn("user", "<image>\nWhat is the total?"), Turn("assistant", "12.50")]
BATCH = 16


class Photos(Dataset[Sample]):
    """The same photo again and again."""

    def __init__(self, path: Path, processor: Processor, size: int) -> None:
        self.path, self.processor, self.size = path, processor, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        return self.processor.encode([read_image(self.path)], TURNS)


def wait_share(path: Path, *, workers: int, step: float, steps: int) -> float:
    """The share of the time that is spent waiting for batches, after the first; the steps leave the CPU idle.

    Args:
        path: a photo.
        workers: loader processes.
        step: seconds of a step on the GPU, which is only waited for.
        steps: number of steps.
    """
    with torch.device("meta"):
        encoder, plan = VisionTransformer(64, 1, 1, 64, 14, 336, layers=(-1,)), UhdPlan()
        count = TokenCount(encoder, PerceiverResampler(64, 64), plan)
    processor = Processor(byte_tokenizer(), plan, count=count, max_length=4096)
    loader = TrainLoader(
        Photos(path, processor, (steps + 1) * BATCH),
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=SampleCollator(processor),
        multiprocessing_context="spawn",
    )
    waited, batches = 0.0, iter(loader)
    next(batches)
    for _ in range(steps):
        time.sleep(step)
        start = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - start
    loader.end_workers()
    return waited / (waited + steps * step)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one step of each, to check that everything runs")
    tiny = parser.parse_args().tiny
    torch.set_num_threads(1)
    print(machine())
    print(f"\nshare of waiting; 640x480 JPEG, UhdPlan (336, 6 slices), batches of {BATCH}\n")
    print("| samples per second that the GPU could do | 1 worker | 2 workers |\n|---|---|---|")
    small = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
        for speed in (2.3, 16.0, 64.0):
            seconds = 0.01 if tiny else BATCH / speed
            steps = 1 if tiny else max(4, int(20 / seconds))
            shares = [wait_share(path, workers=workers, step=seconds, steps=steps) for workers in (1, 2)]
            print(f"| {speed:g} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
