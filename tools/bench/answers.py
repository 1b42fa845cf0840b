"""Check that 7B models in nf4-dq answer on an 8 GB card, and a 13B model on 12 GB: memory and speed on a GPU.

`python -m tools.bench.answers` needs a CUDA device; `--tiny` uses small models with the same views and tokens and also
runs on a CPU. Every case is a separate process: weights are random and created in 4 bits on the device, one after the
other, with memory limited to the card's, so that needing more is an error. transformers' own 4-bit LLaVA-1.5 is last.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from string import ascii_lowercase
from typing import Any

import torch
from PIL import Image
from torch import nn

from foveal.connectors import SpatialResampler
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    Batch,
    DeepStackMerge,
    DeepStackPlan,
    Processor,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    generate,
    llama,
)
from foveal.models.generation.cuda_graphs import graphs_obstacle
from foveal.models.language_models.quantize import decoder_linears, empty_layer, record, replace
from foveal.models.language_models.quantized_loading import parameters_without_memory
from recipes.command_line.console import calm
from tools.bench import answers_theirs
from tools.bench.language_models import CONTEXT, vicuna_7b, vicuna_13b
from tools.bench.published import model
from tools.bench.timing import medians

GB = 1e9
SQUARE, PORTRAIT = Size(672, 672), Size(672, 1008)
TEXT = 512
"""Tokens in addition to the picture's, including the marks between its views."""
NOTHING = "–"
HEAD = """
| | tokens | to the first | tokens/s | with graphs | same tokens | peak, GB | with graphs, GB |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Case:
    """One model and its picture.

    Attributes:
        build: makes the model from a language model and, optionally, another encoder.
        visual: tokens of the picture.
        picture: size of the picture.
        language_model: builds the language model in its published size.
        card: memory of the card in GB.
        limit: memory in GB that may be used, without what the driver needs.
    """

    build: Callable[..., VisionLanguageModel]
    visual: int
    picture: Size = SQUARE
    language_model: Callable[[], nn.Module] = vicuna_7b
    card: float = 8.0
    limit: float = 7.4


def resampler(in_width: int, out_width: int) -> SpatialResampler:
    """LLaVA-UHD's resampler as released, with a head for every 128 channels."""
    return SpatialResampler(in_width, out_width, queries=144, heads=out_width // 128)


UHD = partial(model, connector=resampler, plan=UhdPlan(max_slices=7))
PLAIN = Case(model, 576)
CASES = {
    "LLaVA-1.5 7B": PLAIN,
    "LLaVA-UHD 7B, 7 views": Case(UHD, 7 * 144, PORTRAIT),
    "DeepStack-L 7B": Case(partial(model, plan=DeepStackPlan(336), merge=DeepStackMerge), 576),
    # 2880 tokens of five views, and a newline at the end of each of the map's 48 rows.
    "LLaVA-NeXT 7B": Case(partial(model, plan=AnyResPlan(336), merge=AnyResMerge), 2880 + 48),
    "LLaVA-UHD 13B, 7 views": Case(UHD, 7 * 144, PORTRAIT, vicuna_13b, card=12.0, limit=11.0),
}
THEIRS = "LLaVA-1.5 7B, transformers"
TINY = partial(llama, 320, width=256, depth=6, heads=2, mlp_width=512, context=CONTEXT)


class Endless(Processor):
    """Returns ids instead of text, and no token ends an answer: random weights would choose one at some point."""

    @property
    def stop_ids(self) -> list[int]:
        return []

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(number)) for number in ids)


def shapes(case: Case, *, tiny: bool) -> VisionLanguageModel:
    """The model without weights; computed buffers, such as rotary frequencies, exist.

    Raises:
        ValueError: if the picture's number of tokens is not the expected one.
    """
    with parameters_without_memory():
        encoder = VisionTransformer(32, 2, 2, 64, 14, 336) if tiny else None
        built = case.build(TINY() if tiny else case.language_model(), encoder=encoder)
    old = built.processor
    built.processor = Endless(old.tokenizer, old.plan, count=old.count, max_length=old.max_length)
    visual = sum(item for item in old.count(case.picture) if isinstance(item, int))
    if visual != case.visual:
        raise ValueError(f"a picture of {case.picture} has {visual} visual tokens, expected {case.visual}")
    return built.eval()


def quantise(language_model: nn.Module, device: torch.device) -> None:
    """Give the decoder random 4-bit weights, with only one at a time in 16 bits."""
    for name in decoder_linears(language_model):
        linear: Any = language_model.get_submodule(name)
        layer = empty_layer(linear, "nf4-dq")
        layer.quantize_(torch.empty(linear.weight.shape, dtype=torch.bfloat16, device=device).normal_(std=0.02))
        replace(language_model, name, layer)


def prompt(built: VisionLanguageModel, case: Case) -> Batch:
    """One picture and `TEXT` other tokens; the tokenizer has one token per letter."""
    processor = built.processor
    question = "<image>\nWhat?"
    missing = case.visual + TEXT - processor.length([case.picture], [Turn("user", question)], open_ended=True)
    picture = Image.linear_gradient("L").convert("RGB").resize(case.picture)
    sample = processor.encode_prompt([picture], [Turn("user", question + (ascii_lowercase * TEXT)[:missing])])
    return processor.collate([sample], side="left")


def answered(built: VisionLanguageModel, batch: Batch, new_tokens: int, *, graphs: bool = False) -> list[int]:
    """The answer's tokens, decoded greedily."""
    (ids,) = generate(built, batch, max_new_tokens=new_tokens, cuda_graphs=graphs)
    return [int(number) for number in ids.split()]


def measured(
    answer: Callable[[int], list[int]], device: torch.device, *, limit: float, tiny: bool
) -> tuple[str, str, str, list[int]]:
    """Measure one way to decode: time to the first token, tokens per second after it, peak memory, and the tokens."""
    more = 4 if tiny else 128
    tokens = answer(1 + more)
    if len(tokens) != 1 + more:
        raise RuntimeError(f"{len(tokens)} tokens where {1 + more} were asked for")
    ways = {"first": partial(answer, 1), "all": partial(answer, 1 + more)}
    seconds = medians(ways, device, rounds=1 if tiny else 3)
    rest = seconds["all"] - seconds["first"]
    speed = f"{more / rest:.1f}" if rest > 0 else "in the noise"
    return f"{seconds['first'] * 1e3:.0f} ms", speed, peak(device, limit), tokens


def peak(device: torch.device, limit: float) -> str:
    """Peak GB of tensors and peak GB reserved by torch, each with the limit."""
    if device.type != "cuda":
        return NOTHING
    most = torch.cuda.max_memory_allocated() / GB, torch.cuda.max_memory_reserved() / GB
    return ", ".join(f"{size:.2f} ({'within' if size <= limit else 'ABOVE'} {limit})" for size in most)


def ours(case: Case, device: torch.device, *, tiny: bool) -> str:
    """The cells of a row from the first token on."""
    built = shapes(case, tiny=tiny)
    quantise(built.language_model, device)
    answers_theirs.fill(built, device)
    record(built.language_model, "nf4-dq")
    batch = prompt(built, case)
    first, speed, most, tokens = measured(partial(answered, built, batch), device, limit=case.limit, tiny=tiny)
    if obstacle := graphs_obstacle(built.language_model, device):
        return f"{first} | {speed} | {NOTHING} ({obstacle}) | {NOTHING} | {most} | {NOTHING}"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with_graphs = partial(answered, built, batch, graphs=True)
    try:
        _, faster, most_again, tokens_again = measured(with_graphs, device, limit=case.limit, tiny=tiny)
    except (RuntimeError, ValueError) as error:  # a capture without memory left may raise another error
        return f"{first} | {speed} | {_short(error)} | {NOTHING} | {most} | {peak(device, case.limit)}"
    same = [*(one == other for one, other in zip(tokens, tokens_again, strict=True)), False].index(False)
    agreement = f"the first {same} of {len(tokens)}, {len(set(tokens))} different ones"
    return f"{first} | {speed} | {faster} | {agreement} | {most} | {most_again}"


def theirs(device: torch.device, *, tiny: bool) -> str:
    """The same cells for transformers' LLaVA-1.5, which has no graphs."""
    with parameters_without_memory():
        built = answers_theirs.shapes(tiny=tiny)
    answers_theirs.in_4_bits(built)
    answers_theirs.fill(built, device)
    answer = answers_theirs.answering(built, device, visual=PLAIN.visual, text=TEXT)
    first, speed, most, _ = measured(answer, device, limit=PLAIN.limit, tiny=tiny)
    return f"{first} | {speed} | {NOTHING} | {NOTHING} | {most} | {NOTHING}"


def row(name: str, device: torch.device, *, tiny: bool) -> str:
    """Measure one case, in this process."""
    case = CASES.get(name, PLAIN)
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, case.card * GB / total))
    torch.manual_seed(0)
    try:
        cells = theirs(device, tiny=tiny) if name == THEIRS else ours(case, device, tiny=tiny)
    except torch.OutOfMemoryError as error:
        cells = " | ".join([_short(error), *[NOTHING] * 3, peak(device, case.limit), NOTHING])
    return f"| {name} | {case.visual} + {TEXT} | {cells} |"


def _short(error: Exception) -> str:
    """The error as a cell."""
    message = f"{type(error).__name__}: {error}".partition("\n")[0].replace("|", "/")
    return "out of memory" if isinstance(error, torch.OutOfMemoryError) else message


def main() -> None:
    """Print the table, or one row of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", nargs="?", choices=(*CASES, THEIRS), help="measure only this one, in this process")
    parser.add_argument("--tiny", action="store_true", help="small models, to check that everything runs")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not given.tiny:
        parser.error("the published sizes need a CUDA device: --tiny runs on the CPU")
    calm()
    if given.case is not None:
        print(row(given.case, device, tiny=given.tiny), flush=True)
        return
    # In a separate process as well: asking for the GPU's name takes memory of the card.
    imports = "from importlib.metadata import version; from tools.bench.timing import machine"
    about = f"{imports}; print(machine() + ', bitsandbytes ' + version('bitsandbytes'))"
    subprocess.run([sys.executable, "-c", about], check=True)
    what = "small models, whose figures mean nothing" if given.tiny else "nf4 with double quantisation"
    print(f"\n{what}; a new process each; tokens of picture and text; peak GB (10^9 bytes) of tensors and of torch")
    print(HEAD, flush=True)
    again = [sys.executable, "-m", "tools.bench.answers", *(["--tiny"] if given.tiny else [])]
    codes = [subprocess.run([*again, name], check=False).returncode for name in (*CASES, THEIRS)]
    raise SystemExit(int(any(codes)))


if __name__ == "__main__":
    main()
