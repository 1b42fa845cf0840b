"""Answer questions about receipts in batches with reused pictures, and one by one: `python -m tools.bench.evaluation`.

Five questions on each of several drawn pages as large as scanned receipts. One by one, as a loop over `answer` does it,
every question reads, cuts and encodes its picture; `recipes.evaluate` does so once for a picture. The model is a
LLaVA-UHD of middling size with random weights; times are those of the process's CPU, medians of turns.
"""

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image, ImageDraw, ImageFont

from foveal.connectors import SpatialResampler
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan, VisionLanguageModel, answer, byte_tokenizer, llama
from recipes.answering.questions import Unusable
from recipes.benchmarks.benchmark import Prompt
from recipes.benchmarks.item import Item
from recipes.command_line.console import calm
from recipes.evaluation.asking import Asker, Asking
from tools.bench.timing import machine, medians

QUESTIONS = 5
HEAD = "| | seconds | times as fast | same answers |\n|---|---|---|---|"


@dataclass(frozen=True)
class Drawn:
    """A page in a file."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def find(self) -> Path:
        return self.path


def page(path: Path, number: int, scale: float) -> None:
    """Draw a page of prices."""
    image = Image.new("RGB", (round(600 * scale), round((900 + 60 * number) * scale)), "white")
    font = ImageFont.load_default(max(8, round(18 * scale)))
    for line in range(30):
        text = f"item {line} x {number}    {line * 7 % 23}.{line * 37 % 100:02}"
        ImageDraw.Draw(image).text((20 * scale, 30 * line * scale), text, fill="black", font=font)
    image.save(path, quality=90)


def model(tiny: bool) -> VisionLanguageModel:
    """A LLaVA-UHD with random weights."""
    torch.manual_seed(0)
    side, patch, width = (28, 7, 32) if tiny else (336, 14, 384)
    return VisionLanguageModel(
        VisionTransformer(width, 2 if tiny else 12, 4, 4 * width, patch, side),
        partial(SpatialResampler, queries=4 if tiny else 64),
        llama(260, width=width, depth=2 if tiny else 6, heads=4, mlp_width=3 * width, context=2000),
        byte_tokenizer(),
        UhdPlan(side, patch, 6),
        system="",
        max_length=1900,
    ).eval()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small model and few pages, to try the command")
    parser.add_argument("--pages", type=int, default=4)
    options = parser.parse_args()
    calm()
    one, tokens = model(options.tiny), 3 if options.tiny else 12
    with TemporaryDirectory() as folder:
        items, asked_about = [], []
        for number in range(2 if options.tiny else options.pages):
            path = Path(folder) / f"{number}.jpg"
            page(path, number, 0.2 if options.tiny else 1.0)
            for each in range(QUESTIONS):
                question = f"What does item {each * 5} cost?"
                asked_about.append((path, question))
                items.append(Item(f"{number}-{each}", {"question": question}, (Drawn(path),)))
        found: dict[str, list[str]] = {}

        def alone() -> None:
            found["one by one"] = [answer(one, path, question, max_new_tokens=tokens) for path, question in asked_about]

        def batched(size: int) -> None:
            asker = Asker(one, Asking(Prompt("{question}", tokens), batch_size=size), Unusable())
            found[f"reused, batches of {size}"] = [text for _, text in asker.answers(items)]

        ways = {"one by one": alone} | {f"reused, batches of {size}": partial(batched, size) for size in (1, 8)}
        spent = medians(ways, torch.device("cpu"), rounds=1 if options.tiny else 3, clock=time.process_time)
    print(f"{machine()}\n{len(items)} questions, {tokens} tokens each\n\n{HEAD}")
    for name, seconds in spent.items():
        same = sum(ours == theirs for ours, theirs in zip(found[name], found["one by one"], strict=True))
        print(f"| {name} | {seconds:.1f} | {spent['one by one'] / seconds:.2f} | {same} of {len(items)} |")


if __name__ == "__main__":
    main()
