"""What every method costs at its published size: `python -m tools.bench.methods`.

One table for each size of picture. Nothing is computed and no weight is made: parameters and FLOPs are those of shapes.
"""

import argparse
from collections.abc import Callable, Sequence

import torch

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import Cost, cost, picture_size
from tools.bench.published import METHODS

TEXT = 64
"""Tokens of text beside the picture."""
PICTURES = (Size(1000, 3000), Size(672, 672))
HEAD = (
    "| | views | visual tokens | encoder | connector, merge | language model | TFLOP encoder | connector | "
    "language model | sum |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def built(build: Callable[[], VisionLanguageModel]) -> VisionLanguageModel:
    """The model that `build` makes, on the meta device: shapes without numbers."""
    with torch.device("meta"):
        return build()


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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", type=picture_size, nargs="+", default=PICTURES, metavar="WxH", help="size of the picture in pixels"
    )
    parser.add_argument("--tiny", action="store_true", help="the first method and picture alone")
    given = parser.parse_args()
    pictures: Sequence[Size] = given.image[:1] if given.tiny else given.image
    methods = dict(list(METHODS.items())[:1]) if given.tiny else METHODS
    for picture in pictures:
        try:
            costs = {name: cost(built(build), [picture], text=TEXT) for name, build in methods.items()}
        except ValueError as error:
            parser.error(str(error))
        print(f"\na picture of {picture} pixels and {TEXT} tokens of text; parameters, and TFLOP of a prefill\n")
        print("\n".join((*HEAD, *(row(name, found) for name, found in costs.items()))))


if __name__ == "__main__":
    main()
