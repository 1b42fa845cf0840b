"""What every method costs at its published size: `python -m tools.bench.methods`.

One table for each size of picture. Nothing is computed and no weight is made: parameters and FLOPs are those of shapes.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foveal.models import Merged, VisionLanguageModel
from tools.bench.published import METHODS

Size = tuple[int, int]
TEXT = 64
"""Tokens of text beside the picture."""
PICTURES: tuple[Size, ...] = ((1000, 3000), (672, 672))
HEAD = (
    "| | views | visual tokens | encoder | connector, merge | language model | TFLOP encoder | connector | "
    "language model | sum |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Parts:
    """A number for each part of a model."""

    encoder: int
    connector: int
    language_model: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.encoder + self.connector + self.language_model


@dataclass(frozen=True)
class Cost:
    """What one picture costs.

    Attributes:
        views: that the encoder sees.
        visual: visual tokens in the sequence.
        marks: tokens of text that the method puts between or around them.
        stacked: visual tokens that are added to hidden states instead.
        parameters: all, those that do not learn too; the merge's belong to the connector.
        flops: of one prefill, up to the logits of the last token: two for each multiply-add of matrix products and
            convolutions, as they are executed: SAM's relative positions are part of the product and make its heads
            wider. Elementwise work, interpolation and the samples of deformable attention are not counted.
    """

    views: int
    visual: int
    marks: int
    stacked: int
    parameters: Parts
    flops: Parts


def built(build: Callable[[], VisionLanguageModel]) -> VisionLanguageModel:
    """The model that `build` makes, on the meta device: shapes without numbers."""
    with torch.device("meta"):
        return build()


def parameters(model: VisionLanguageModel) -> Parts:
    """Of every part; blocks that a method never runs are not built."""
    everything, encoder, language_model = (
        sum(weight.numel() for weight in part.parameters()) for part in (model, model.encoder, model.language_model)
    )
    return Parts(encoder, everything - encoder - language_model, language_model)


def cost(build: Callable[[], VisionLanguageModel], width: int, height: int) -> Cost:
    """Of a picture of width x height pixels and `TEXT` tokens, with the model that `build` makes.

    Raises:
        ValueError: if the model cannot take such a picture.
    """
    model = built(build)
    weights = parameters(model)
    sizes, marks = model.processor.plan.views(width, height), model.processor.count(width, height)
    pictures: list[Merged] = []
    # Connectors switch autocast off, which torch refuses on the meta device: these shapes pretend to be on the CPU.
    with FakeTensorMode(allow_non_fake_inputs=True):
        for part in (model.encoder, model.connector, model.merge):
            if part is not None:
                part.to_empty(device="cpu")
        views = [torch.empty(3, *size) for size in sizes]
        of_encoder = flops(lambda: model.encoder.encode_views(views))
        of_both = flops(lambda: pictures.extend(model.merged(views, [(width, height)])))
    visual = sum(len(picture.tokens) for picture in pictures)
    texts = sum(isinstance(item, str) for item in marks)
    return Cost(
        views=len(sizes),
        visual=visual,
        marks=texts,
        stacked=sum(len(stack) for picture in pictures for stack in picture.stacks),
        parameters=weights,
        flops=Parts(of_encoder, of_both - of_encoder, prefill(model.language_model, visual + texts + TEXT)),
    )


def prefill(language_model: nn.Module, tokens: int) -> int:
    """FLOPs of a language model on the meta device that reads so many tokens and gives the logits of the last."""
    model: Any = language_model
    embedded = torch.empty(1, tokens, model.config.hidden_size, device="meta")
    # Without a cache transformers would look for packed sequences in the values of the positions, which are not there.
    return flops(lambda: model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1))


def flops(run: Callable[[], object]) -> int:
    """Of what `run` does; fused attention is taken apart, which the counter cannot see into on every device."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return int(counter.get_total_flops())


def row(name: str, found: Cost) -> str:
    """A row of the table."""
    tokens = f"{found.visual}"
    tokens += f" + {found.stacked} stacked" if found.stacked else ""
    tokens += f" + {found.marks} marks" if found.marks else ""
    sizes, work = found.parameters, found.flops
    return (
        f"| {name} | {found.views} | {tokens} | {sizes.encoder / 1e6:.1f} M | {sizes.connector / 1e6:.1f} M | "
        f"{sizes.language_model / 1e6:.0f} M | {work.encoder / 1e12:.2f} | {work.connector / 1e12:.3f} | "
        f"{work.language_model / 1e12:.2f} | {work.total / 1e12:.2f} |"
    )


def picture_size(text: str) -> Size:
    """`1000x3000` as (1000, 3000).

    Raises:
        argparse.ArgumentTypeError: if it is something else.
    """
    numbers = text.split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no WIDTHxHEIGHT in pixels, as 1000x3000")
    return int(numbers[0]), int(numbers[1])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", type=picture_size, nargs="+", default=PICTURES, metavar="WxH", help="size of the picture in pixels"
    )
    pictures: Sequence[Size] = parser.parse_args().image
    for width, height in pictures:
        try:
            costs = {name: cost(build, width, height) for name, build in METHODS.items()}
        except ValueError as error:
            parser.error(str(error))
        print(f"\na picture of {width}x{height} pixels and {TEXT} tokens of text; parameters, and TFLOP of a prefill\n")
        print("\n".join((*HEAD, *(row(name, found) for name, found in costs.items()))))


if __name__ == "__main__":
    main()
