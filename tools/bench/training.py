"""Samples per second of training LLaVA-1.5-7B with random weights: `python -m tools.bench.training`.

Two cases: pretraining of the connector alone (LLaVA-1.5's first stage) on sequences of 610 tokens, and LoRA on
sequences of 4096; frozen weights are bfloat16, trained ones float32 with autocast. It needs a CUDA device; `--tiny`
uses small models and also runs on a CPU.

MFU counts the operations that a step requires: 2 FLOPs for each weight and token of the forward pass, and attention
over the half of all pairs that is not masked; the backward pass needs as many for activations, twice as many for
attention, and as many for trained weights (PaLM, arXiv 2204.02311, appendix B). The encoder's attention and gradients
inside the connector, below one per cent, are left out. MFU is relative to the device's dense bfloat16 peak.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from foveal.encoders import VisionTransformer
from foveal.models import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch, VisionLanguageModel, llama
from foveal.models.lora import Lora
from recipes.command_line.console import calm
from recipes.module import Finetuning
from tools.bench.language_models import CONTEXT, vicuna_7b
from tools.bench.published import model
from tools.bench.timing import machine, medians

VISUAL, SIDE = 576, 336
PEAKS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12}
"""Dense bfloat16 FLOPs per second, by a part of the device's name, from NVIDIA's data sheets."""


@dataclass(frozen=True)
class Way:
    """One way to train.

    Attributes:
        tokens: tokens of a sequence, including the picture's.
        samples: samples per step.
        lora: adapters on the language model; None: only the connector is trained.
    """

    tokens: int
    samples: int
    lora: Lora | None = None


WAYS = {
    "connector pretraining, 610 tokens": Way(610, 16),
    "LoRA, 4096 tokens": Way(4096, 1, Lora()),
}


def trained(way: Way, device: torch.device, *, tiny: bool) -> Finetuning:
    """The model with random weights in the published sizes; frozen weights are bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            language_model = (
                llama(320, width=64, depth=2, heads=2, mlp_width=128, context=CONTEXT) if tiny else vicuna_7b()
            )
            network = model(language_model, encoder=VisionTransformer(32, 2, 2, 64, 14, SIDE) if tiny else None)
    finally:
        torch.set_default_dtype(before)
    built = Finetuning(
        network,
        connector_lr=1e-3,
        language_model_lr=None if way.lora is None else 2e-4,
        lora=way.lora,
    )
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    built.train()
    return built


def batch(way: Way, device: torch.device, vocabulary: int) -> Batch:
    """Samples of one picture and text; the second half of the text is supervised."""
    text = way.tokens - VISUAL
    ids = torch.randint(5, vocabulary - 1, (way.samples, way.tokens), device=device)
    ids[:, 8 : 8 + VISUAL] = IMAGE_TOKEN_ID
    labels = ids.clone()
    labels[:, : -(text // 2)] = IGNORE_INDEX
    views = torch.randint(0, 255, (way.samples, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    return Batch(ids, labels, torch.ones_like(ids, dtype=torch.bool), tuple(views), ("",) * way.samples)


def step(built: Finetuning, optimizer: torch.optim.Optimizer, of: Batch, device: torch.device) -> None:
    """One optimizer step."""
    with torch.autocast(device.type, dtype=torch.bfloat16):
        loss = built.network.loss(of)
    (loss.total / loss.tokens).backward()
    optimizer.step()
    optimizer.zero_grad()


def flops(built: VisionLanguageModel, way: Way) -> float:
    """FLOPs of a step, counted as in the module's docstring."""
    language: Any = built.language_model
    config, tokens = language.config, way.tokens
    learnt = (way.tokens - VISUAL) // 2

    def weights(part: nn.Module, *, learns: bool | None = None) -> int:
        linears = (each for each in part.modules() if isinstance(each, nn.Linear))
        found = (each.weight for each in linears)
        return sum(weight.numel() for weight in found if learns is None or weight.requires_grad == learns)

    head = language.get_output_embeddings().weight.numel()
    decoder, adapters = weights(language) - head, weights(language, learns=True)
    attention = 2 * config.num_hidden_layers * config.hidden_size * tokens**2
    # In both cases gradients of activations go back through the whole decoder: the connector is trained with them.
    through = 2 * (2 * tokens * decoder + 2 * learnt * head) + 3 * attention + 2 * tokens * adapters
    pictures = 2 * VISUAL * (weights(built.encoder) + 2 * weights(built.connector))
    return way.samples * float(through + pictures)


def peak(device: torch.device) -> float | None:
    """Peak FLOPs per second of the device, if known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((most for part, most in PEAKS.items() if part in name), None)


def row(name: str, way: Way, device: torch.device, *, tiny: bool) -> str:
    """A row of the table."""
    torch.manual_seed(0)
    built = trained(way, device, tiny=tiny)
    of = batch(way, device, built.network.language_model.config.vocab_size)
    optimizer = torch.optim.AdamW([weight for weight in built.parameters() if weight.requires_grad], lr=1e-4)
    once: Callable[[], object] = partial(step, built, optimizer, of, device)
    seconds = medians({name: once}, device, rounds=1 if tiny else 10)[name]
    work, most = flops(built.network, way), peak(device)
    used = "unknown" if most is None else f"{work / seconds / most:.1%}"
    memory = f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB" if device.type == "cuda" else "–"
    return f"| {name} | {way.samples} | {way.samples / seconds:.2f} | {work / 1e12:.3f} | {used} | {memory} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small models, one sample per step, also on the CPU")
    tiny = parser.parse_args().tiny
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not tiny:
        parser.error("7B models need a CUDA device: --tiny runs on the CPU")
    calm()
    print(machine())
    print(f"\n{'small models, whose figures mean nothing' if tiny else 'LLaVA-1.5-7B'}; bfloat16, random weights\n")
    print("| | samples a step | samples/s | TFLOP a step | MFU | peak |\n|---|---|---|---|---|---|")
    for name, way in WAYS.items():
        small = Way(way.tokens, 1, None if way.lora is None else Lora(rank=4))
        print(row(name, small if tiny else way, device, tiny=tiny), flush=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
