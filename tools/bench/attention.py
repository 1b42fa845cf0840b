"""Compare attention kernels, dense and ragged, forward and backward: `python -m tools.bench.attention`.

xformers and varlen need a CUDA device; a kernel that cannot run says why. Before anything is timed, the results and
gradients of every kernel are compared with those of torch's SDPA. `--tiny` uses a few tokens and also runs on the CPU.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from foveal.core import Backend, Lengths, attention
from tools.bench.timing import machine, medians

KERNELS: tuple[Backend, ...] = ("sdpa", "xformers", "varlen")
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}
"""Relative to the largest entry; every kernel rounds half precision at different steps."""


@dataclass(frozen=True)
class Case:
    """The shape of one attention.

    Attributes:
        lengths: tokens of each sequence.
        heads: number of query heads.
        key_heads: number of heads of keys and values.
        head_width: channels of a head.
        causal: whether it is causal, as in a language model.
    """

    lengths: Sequence[int]
    heads: int
    key_heads: int
    head_width: int
    causal: bool


@dataclass(frozen=True)
class Way:
    """One way to compute a case.

    Attributes:
        inputs: query, key and value.
        gradient: gradient of the result; zero at padding, so that nothing flows back from there.
        options: the other arguments of `foveal.core.attention`.
        real: [batch, tokens], True at real tokens of the result; None: all are real.
    """

    inputs: tuple[Tensor, ...]
    gradient: Tensor
    options: Mapping[str, Any]
    real: Tensor | None = None

    def forward(self) -> Tensor:
        """The result, without a graph for the backward pass."""
        with torch.no_grad():
            return attention(*self.inputs, **self.options)

    def both(self) -> tuple[Tensor, ...]:
        """The result, and the gradients of the inputs."""
        out = attention(*self.inputs, **self.options)
        return out, *torch.autograd.grad(out, self.inputs, self.gradient)

    def compared(self) -> list[Tensor]:
        """The result and gradients at real tokens, [tokens, heads, head_width], which all ways of a case must share."""
        return [each.flatten(0, 1) if self.real is None else each[self.real] for each in self.both()]


def cases(*, tiny: bool) -> dict[str, Case]:
    """The attention of an encoder and of a language model, by name."""
    rng = random.Random(0)
    heads = (2, 2, 8) if tiny else (16, 16, 64)
    shared = (4, 2, 8) if tiny else (32, 8, 128)
    views, texts = ((12, 4), (20, 5)) if tiny else ((576, 100), (2048, 300))
    return {
        "encoder, dense": Case([views[0]] * 8, *heads, causal=False),
        "encoder, ragged": Case([rng.randint(*reversed(views)) for _ in range(16)], *heads, causal=False),
        "language model, dense": Case([texts[0]] * 4, *shared, causal=True),
        "language model, ragged": Case([rng.randint(*reversed(texts)) for _ in range(8)], *shared, causal=True),
    }


def ways(case: Case, device: torch.device, dtype: torch.dtype) -> dict[str, Way]:
    """Every way by name, with the same inputs; the others are compared with the first."""
    generator = torch.Generator().manual_seed(0)
    packed = [
        torch.randn(sum(case.lengths), heads, case.head_width, generator=generator).to(device, dtype)
        for heads in (case.heads, case.key_heads, case.key_heads, case.heads)
    ]

    def way(tensors: Sequence[Tensor], real: Tensor | None = None, **options: Any) -> Way:
        inputs = tuple(tensor.requires_grad_() for tensor in tensors[:3])
        return Way(inputs, tensors[3], {"causal": case.causal, **options}, real)

    if len(set(case.lengths)) == 1:
        dense = [each.unflatten(0, (len(case.lengths), -1)).clone() for each in packed]
        return {kernel: way(dense, backend=kernel) for kernel in KERNELS}
    lengths = Lengths(case.lengths)
    ragged = [each[None].clone() for each in packed]
    padded = [pad_sequence(each.split(list(lengths)), batch_first=True) for each in packed]
    mask = pad_sequence([torch.ones(length, dtype=torch.bool, device=device) for length in lengths], batch_first=True)
    return {
        **{kernel: way(ragged, lengths=lengths, backend=kernel) for kernel in KERNELS},
        "sdpa, padded": way(padded, mask, key_mask=mask, backend="sdpa"),
    }


def that_run(found: Mapping[str, Way]) -> tuple[dict[str, Way], dict[str, str]]:
    """The ways that run and agree with the first, and the reasons why others do not run.

    Raises:
        ValueError: if the results of a way differ.
    """
    running: dict[str, Way] = {}
    reasons: dict[str, str] = {}
    expected: list[Tensor] = []
    for name, way in found.items():
        try:
            results = way.compared()
        except RuntimeError as error:
            if "cannot run" not in str(error):
                raise
            reasons[name] = str(error)
            continue
        expected = expected or results
        for what, ours, reference in zip(("result", "dq", "dk", "dv"), results, expected, strict=True):
            off = ((ours - reference).abs().max() / reference.abs().max()).item()
            if off > TOLERANCE[ours.dtype]:
                raise ValueError(
                    f"{name} does not compute what sdpa does: its {what} is off by {off:.1e} of the largest"
                )
        running[name] = way
    return running, reasons


def rows(name: str, case: Case, device: torch.device, dtype: torch.dtype, *, rounds: int) -> list[str]:
    """Rows of the table for one case."""
    running, reasons = that_run(ways(case, device, dtype))
    forward = medians({each: way.forward for each, way in running.items()}, device, rounds=rounds)
    both = medians({each: way.both for each, way in running.items()}, device, rounds=rounds)
    return [
        f"| {name} | {each} | {forward[each] * 1e3:.2f} ms | {forward['sdpa'] / forward[each]:.2f} | "
        f"{both[each] * 1e3:.2f} ms | {both['sdpa'] / both[each]:.2f} |"
        for each in running
    ] + [f"| {name} | {each} | {reason} | | | |" for each, reason in reasons.items()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.attention", description=__doc__)
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--tiny", action="store_true", help="a few tokens, to check that everything runs")
    asked = parser.parse_args()
    try:
        xformers = f"xformers {version('xformers')}"
    except PackageNotFoundError:
        xformers = "no xformers"
    print(f"{machine()}, {xformers}\n\n{asked.dtype} on {asked.device}; times faster than sdpa of the same case\n")
    print("| | kernel | forward | times faster | forward and backward | times faster |\n|---|---|---|---|---|---|")
    for name, case in cases(tiny=asked.tiny).items():
        tokens = " to ".join(str(each) for each in sorted({min(case.lengths), max(case.lengths)}))
        what = f"{name}: {len(case.lengths)} of {tokens} tokens"
        print(
            "\n".join(rows(what, case, asked.device, DTYPES[asked.dtype], rounds=2 if asked.tiny else 20)), flush=True
        )


if __name__ == "__main__":
    main()
