"""The speed of making samples from files on one core: `python -m tools.bench.loader`."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foveal.connectors import PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, Processor, Turn, UhdPlan, ViewPlan, byte_tokenizer, read_image
from foveal.models.prompts.token_count import TokenCount
from tools.bench.timing import machine

TURNS = [Turn("user", "<image>\nWhat is the total?"), Turn("assistant", "12.50")]


def per_second(path: Path, plan: ViewPlan, seconds: float) -> float:
    """Samples per second: read, decoded, cut, tokenised."""
    with torch.device("meta"):
        encoder = VisionTransformer(64, 1, 1, 64, 14, 336, layers=(-1,))
        count = TokenCount(encoder, PerceiverResampler(64, 64), plan)
    processor = Processor(byte_tokenizer(), plan, count=count, max_length=4096)
    made, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        processor.encode([read_image(path)], TURNS)
        made += 1
    return made / (time.perf_counter() - start)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one sample of each, to check that everything runs")
    seconds = 0.01 if parser.parse_args().tiny else 4.0
    torch.set_num_threads(1)
    print(machine())
    print("\nsamples a second on one core, from a JPEG file to ids and views\n")
    print("| picture | UhdPlan (336, 6 slices) | PadToSquare (336) |\n|---|---|---|")
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, height) in {
            "640x480 photo": (640, 480),
            "12-megapixel page (3000x4000)": (3000, 4000),
        }.items():
            small = noise.integers(0, 255, (height // 20, width // 20, 3), dtype=np.uint8)
            path = Path(folder) / f"{width}.jpg"
            Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
            speeds = [per_second(path, plan, seconds) for plan in (UhdPlan(), PadToSquare())]
            print(f"| {name} | {' | '.join(f'{speed:.1f}' for speed in speeds)} |")


if __name__ == "__main__":
    main()
