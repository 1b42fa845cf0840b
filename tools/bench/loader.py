"""The speed of making samples from files on one core: `python -m tools.bench.loader`."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foveal.connectors import PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, Processor, Turn, UhdPlan, ViewPlan, byte_tokenizer
from foveal.models.prompts.token_count import TokenCount
from tools.bench.timing import fastest, machine

TURNS = [Turn("user", "<image>\nWhat is the total?"), Turn("assistant", "12.50")]


PLANS: tuple[Callable[..., ViewPlan], ...] = (UhdPlan, PadToSquare)


def maker(path: Path, plan: ViewPlan) -> Callable[[], object]:
    """Make one sample: read, decoded, cut, tokenised."""
    with torch.device("meta"):
        encoder = VisionTransformer(64, 1, 1, 64, 14, 336, layers=(-1,))
        count = TokenCount(encoder, PerceiverResampler(64, 64), plan)
    processor = Processor(byte_tokenizer(), plan, count=count, max_length=4096)
    return lambda: processor.encode([processor.read(path)], TURNS)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="one sample of each, to check that everything runs")
    rounds = 1 if parser.parse_args().tiny else 15
    torch.set_num_threads(1)
    print(machine())
    print(
        "\nsamples a second on one core, from a JPEG file to ids and views; decoded whole, with draft, and the ratio\n"
    )
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
            cells = []
            for plan in PLANS:
                ways = {"whole": maker(path, plan()), "draft": maker(path, plan(draft=True))}
                took = fastest(ways, rounds=rounds)
                whole, draft = took["whole"], took["draft"]
                cells.append(f"{1 / whole:.1f}, {1 / draft:.1f} ({whole / draft:.1f}x)")
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
