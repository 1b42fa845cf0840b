"""DeepStack-L against LLaVA-1.5 and against a longer sequence: `python -m tools.bench.deepstack`.

The same picture tokens in three ways: the overview's 576 alone; these with four stacks of 576 more; all 2880 in one
sequence. The language model alone (on precomputed tokens) and the whole model (from views) are measured. FLOPs are
counted and compared with the formula L * (2 T (4 d^2 + 3 d m) + 4 T^2 d) for T tokens and L layers of width d with m
channels in the MLP.
"""

import argparse
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foveal.connectors import MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    SequenceMerge,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from foveal.models.language_models.injection import Embedded, injected
from tools.bench.timing import fastest, machine

SIDE, TEXT, PICTURE = 336, 64, Size(672, 672)
WAYS = ("overview", "stacks", "sequence")


def models(width: int, depth: int, device: torch.device) -> dict[str, VisionLanguageModel]:
    """The three models, with a small encoder and language models of the same shape."""
    mlp_width, heads = width * 11 // 4, width // 64

    def build(way: str) -> VisionLanguageModel:
        torch.manual_seed(0)
        plan = PadToSquare(SIDE) if way == "overview" else DeepStackPlan(SIDE)
        merge = {"overview": None, "stacks": DeepStackMerge, "sequence": SequenceMerge}[way]
        return VisionLanguageModel(
            VisionTransformer(256, 4, 4, 1024, 14, SIDE),
            MlpProjector,
            llama(260, width=width, depth=depth, heads=heads, mlp_width=mlp_width, context=4096),
            byte_tokenizer(),
            plan,
            merge=merge,
            max_length=4096,
        ).to(device)

    return {way: build(way) for way in WAYS}


def prompt(model: VisionLanguageModel, device: torch.device) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Ids of one picture and some text, and the picture's views."""
    (tokens,) = model.processor.count(PICTURE)
    ids = torch.tensor([[IMAGE_TOKEN_ID] * int(tokens) + [7] * TEXT], device=device)
    views = model.processor.plan.views(PICTURE)
    return ids, [torch.randn(3, view.height, view.width, device=device) for view in views]


def read(model: VisionLanguageModel, embedded: Embedded) -> torch.Tensor:
    """Run the language model alone; return the logits of the last position."""
    with injected(model.language_model, embedded.stacks, 1):
        logits: torch.Tensor = model.language_model(
            inputs_embeds=embedded.embeddings, use_cache=False, logits_to_keep=1
        ).logits
    return logits


@torch.no_grad()
def prefill(model: VisionLanguageModel, embedded: Embedded) -> None:
    """Run the language model alone, without a graph."""
    read(model, embedded)


@torch.no_grad()
def answer(model: VisionLanguageModel, ids: torch.Tensor, views: list[torch.Tensor]) -> None:
    """Run the whole model, without a graph."""
    model(ids, views, columns=torch.tensor([ids.shape[1] - 1], device=ids.device), sizes=[PICTURE])


def train(model: VisionLanguageModel, embedded: Embedded) -> None:
    """Forward and backward pass of the language model."""
    model.zero_grad()
    read(model, embedded).sum().backward()


def flops(model: VisionLanguageModel, embedded: Embedded) -> tuple[float, float]:
    """FLOPs of the decoder layers alone: counted, and by the formula."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        read(model, embedded)
    config = model.language_model.config
    width, inner, depth = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens = embedded.embeddings.shape[1]
    formula = depth * (2 * tokens * (4 * width**2 + 3 * width * inner) + 4 * tokens**2 * width)
    return counter.get_total_flops() - 2 * width * config.vocab_size, formula


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=512, help="channels of the language model")
    parser.add_argument("--depth", type=int, default=8, help="its layers")
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--tiny", action="store_true", help="a small language model, to check that everything runs")
    given = parser.parse_args()
    rounds = 7
    if given.tiny:
        given.width, given.depth, rounds = 64, 5, 1
    built = models(given.width, given.depth, given.device)
    prompts = {way: prompt(model, given.device) for way, model in built.items()}
    with torch.no_grad():
        embedded = {way: built[way].embed(*prompts[way], [PICTURE]) for way in WAYS}
    jobs = {
        "prefill, language model": {way: partial(prefill, built[way], embedded[way]) for way in WAYS},
        "forward and backward, language model": {way: partial(train, built[way], embedded[way]) for way in WAYS},
        "prefill, whole model": {way: partial(answer, built[way], *prompts[way]) for way in WAYS},
    }
    print(machine())
    print(
        f"\none picture of {PICTURE} and {TEXT} text tokens; language model of {given.depth} layers, "
        f"width {given.width}; float32 on {given.device}, fastest of {rounds}, taking turns\n"
    )
    print("| | overview alone | with stacks | all in sequence | stacks: times overview | sequence: times stacks |")
    print("|---|---|---|---|---|---|")
    lengths = [embedded[way].embeddings.shape[1] for way in WAYS]
    print(f"| tokens in sequence | {' | '.join(map(str, lengths))} | | |")
    counted, formula = zip(*(flops(built[way], embedded[way]) for way in WAYS), strict=True)
    for name, numbers in (("GFLOP counted", counted), ("GFLOP by the formula", formula)):
        shown = " | ".join(f"{number / 1e9:.1f}" for number in numbers)
        print(f"| {name} | {shown} | {numbers[1] / numbers[0]:.2f} | {numbers[2] / numbers[1]:.2f} |")
    for name, ways in jobs.items():
        seconds = fastest(ways, rounds=rounds)
        shown = " | ".join(f"{seconds[way] * 1e3:.1f} ms" for way in WAYS)
        overhead, saved = seconds["stacks"] / seconds["overview"], seconds["sequence"] / seconds["stacks"]
        print(f"| {name} | {shown} | {overhead:.2f} | {saved:.2f} |")


if __name__ == "__main__":
    main()
