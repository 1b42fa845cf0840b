"""Training steps on packed rows against padded batches of the same samples: `python -m tools.bench.packing`.

Two mixes: lengths as in LLaVA-1.5's mixture of 665,000 conversations, simulated; and receipts with built-in pages, as
the small UHD sees them. The padded batches are those of the default order and of a random one. A check first confirms
that all compute the same loss. `--tiny`: a few samples.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from foveal.connectors import MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    Batch,
    PadToSquare,
    Sample,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from recipes.data.order import ModalityLengthOrder
from recipes.data.packing import packs_of, shuffled
from recipes.data.pages import PageSettings, draw_page
from tools.bench import default_run
from tools.bench.timing import machine, medians

CAPACITY = 4096
BATCH = 16
VISUAL = 576
LONGEST = 2048
SOURCES = {
    "LLaVA-Instruct": (158, True, 250, 0.6),
    "ShareGPT": (40, False, 1100, 0.7),
    "VQAv2": (83, True, 150, 0.4),
    "GQA": (72, True, 250, 0.4),
    "OK-VQA": (9, True, 70, 0.3),
    "OCR-VQA": (80, True, 150, 0.3),
    "A-OKVQA": (66, True, 110, 0.3),
    "TextCaps": (22, True, 90, 0.2),
    "RefCOCO": (48, True, 280, 0.5),
    "Visual Genome": (86, True, 300, 0.5),
}
"""Samples in thousands and whether they have a picture (arXiv 2310.03744, table 7); assumed median and sigma of a
log-normal number of text tokens."""


@dataclass(frozen=True)
class Mix:
    """Samples for a model.

    Attributes:
        name: for the table.
        model: in training mode.
        samples: in any order.
        capacity: tokens of a packed row.
    """

    name: str
    model: VisionLanguageModel
    samples: Sequence[Sample]
    capacity: int


def mix_665k(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Simulated lengths in tokens of LLaVA-1.5's mixture, and whether a sample has a picture: [number] each."""
    generator = np.random.default_rng(seed)
    thousands, pictures, medians, sigmas = (np.array(column) for column in zip(*SOURCES.values(), strict=True))
    source = generator.choice(len(SOURCES), number, p=thousands / thousands.sum())
    text = generator.lognormal(np.log(medians[source]), sigmas[source]).round().astype(np.int64).clip(40)
    return (text + VISUAL * pictures[source]).clip(max=LONGEST), pictures[source]


def simulated(number: int, *, width: int, depth: int) -> Mix:
    """A small LLaVA with 576 visual tokens for a picture, and samples whose second half of the text is an answer."""
    model = VisionLanguageModel(
        VisionTransformer(64, 1, 2, 128, 14, 336),
        MlpProjector,
        llama(512, width=width, depth=depth, heads=max(1, width // 64), mlp_width=width * 11 // 4, context=LONGEST),
        byte_tokenizer(),
        PadToSquare(336),
        max_length=LONGEST,
    )
    samples = []
    for index, (length, picture) in enumerate(zip(*mix_665k(number), strict=True)):
        visual = VISUAL * picture
        ids = torch.randint(260, (int(length),))
        ids[:visual] = IMAGE_TOKEN_ID
        labels = ids.clone()
        labels[: (length + visual) // 2] = IGNORE_INDEX
        views = (torch.zeros(3, 336, 336, dtype=torch.uint8),) * int(picture)
        samples.append(Sample(ids, labels, views, f"sample {index}", (Size(336, 336),) * int(picture)))
    return Mix("mix-665K, simulated", model.train(), samples, CAPACITY)


def receipts_and_pages(number: int) -> Mix:
    """Half built-in pages, half a shop's receipts: two questions each, every ninth record without a picture."""
    built = default_run.module()
    encode, generator = built.network.processor.encode, np.random.default_rng(0)
    samples = []
    for index in range(number):
        if index % 2:
            page = draw_page(PageSettings(), 0, index)
            samples.append(encode([page.image], page.turns, key=f"page {index}"))
            continue
        sizes = (int(generator.integers(150, 300)), int(40 * generator.integers(4, 8) + generator.integers(20, 200)))
        pictures = [Image.new("RGB", sizes, "white")] if index % 18 else []
        question = "<image>\nWhat is the total amount?" if pictures else "What is a receipt?"
        turns = [Turn("user", question), Turn("assistant", "12.34")]
        turns += [Turn("user", "Which shop is it from?"), Turn("assistant", "CORNER SHOP")] if pictures else []
        samples.append(encode(pictures, turns, key=f"receipt {index}"))
    return Mix("receipts and pages", built.network, samples, CAPACITY)


def batches_of(mix: Mix) -> dict[str, list[Batch]]:
    """The same samples in packed rows, and padded in random order and in that of `ModalityLengthOrder`.

    A batch of rows has about as many tokens as `BATCH` samples.
    """
    lengths = [len(sample.input_ids) for sample in mix.samples]
    packs, collate = packs_of(lengths, mix.capacity), mix.model.processor.collate
    rows = max(1, round(BATCH * sum(lengths) / len(lengths) / mix.capacity))
    signed = [length if sample.views else -length for length, sample in zip(lengths, mix.samples, strict=True)]
    grouped = ModalityLengthOrder(signed).indices(0, batch_size=BATCH, parts=1)

    def cut(order: Sequence[int]) -> list[Batch]:
        parts = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        return [collate([mix.samples[index] for index in part]) for part in parts]

    packed = [[mix.samples[index] for index in members] for members in packs]
    return {
        "packed": [
            mix.model.processor.collate_packed(packed[start : start + rows], mix.capacity)
            for start in range(0, len(packed), rows)
        ],
        "padded, grouped by modality and length": cut(grouped),
        "padded, random order": cut(shuffled(len(lengths), 0, 0)),
    }


def learn(model: VisionLanguageModel, batches: Sequence[Batch]) -> float:
    """Forward and backward passes on all batches; returns the summed loss."""
    total = 0.0
    for batch in batches:
        loss = model.loss(batch).total
        loss.backward()
        total += loss.item()
    model.zero_grad()
    return total


def check(model: VisionLanguageModel, ways: dict[str, list[Batch]]) -> None:
    """Compare the losses.

    Raises:
        RuntimeError: if they differ.
    """
    losses = {name: learn(model, batches) for name, batches in ways.items()}
    if max(losses.values()) - min(losses.values()) > 1e-5 * max(losses.values()):
        raise RuntimeError(f"the losses differ: {losses}")


def padding(batches: Sequence[Batch]) -> float:
    """Share of positions that are padding."""
    return 1 - sum(int(batch.attention_mask.sum()) for batch in batches) / sum(
        each.input_ids.numel() for each in batches
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a few samples, to show that it runs")
    tiny = parser.parse_args().tiny
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sizes = {"width": 64, "depth": 1} if tiny else {"width": 192, "depth": 3}
    mixes = [simulated(4 if tiny else 48, **sizes), receipts_and_pages(8 if tiny else 512)]
    print(f"{machine()}\n\n| mix | batches | padding | CPU time | times faster |\n|---|---|---|---|---|")
    for mix in mixes:
        ways = batches_of(mix)
        check(mix.model, ways)
        seconds = medians(
            {name: partial(learn, mix.model, batches) for name, batches in ways.items()},
            torch.device("cpu"),
            rounds=1 if tiny else 3,
            clock=time.process_time,
        )
        for name, batches in ways.items():
            faster = seconds[name] / seconds["packed"]
            print(f"| {mix.name} | {name} | {padding(batches):.1%} | {seconds[name]:.2f} s | {faster:.2f} |")
    number = 10_000 if tiny else 665_000
    lengths, _ = mix_665k(number)
    start = time.process_time()
    packs = packs_of(lengths, CAPACITY)
    spent = time.process_time() - start
    print(
        f"\n{number:,} simulated lengths (mean {lengths.mean():.0f}) packed in {spent:.1f} s into {len(packs):,} rows "
        f"of {CAPACITY}: {1 - lengths.sum() / (len(packs) * CAPACITY):.2%} padding"
    )


if __name__ == "__main__":
    main()
