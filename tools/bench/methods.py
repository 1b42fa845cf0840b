"""The cost of every method at its published size: `python -m tools.bench.methods`.

There is one table for each picture size. Parameters and FLOPs come from shapes alone: nothing is computed, and no
weights are created. `--write` puts the tables of two pictures into docs/methods.md.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import Cost, cost, picture_size
from tools.bench.published import METHODS

TEXT = 64
"""Text tokens in addition to the picture's."""
PICTURES = (Size(1000, 3000), Size(672, 672))
HEAD = (
    "| | views | visual tokens | encoder | connector, merge | language model | TFLOP encoder | connector | "
    "language model | sum |",
    "|---|---|---|---|---|---|---|---|---|---|",
)

SHORT_HEAD = (
    "| | views | visual tokens | TFLOP encoder | connector | language model | sum |",
    "|---|---|---|---|---|---|---|",
)
PAGE = Path(__file__).parents[2] / "docs/methods.md"
PAGES = {
    "LLaVA-1.5": "llava",
    "DeCo": "deco",
    "Q-Former": "deco",
    "Dense Connector": "dense_connector",
    "MMFuser": "mmfuser",
    "LLaVA-NeXT": "llava_next",
    "LLaVA-OneVision": "llava_onevision",
    "PLLaVA": "pllava",
    "DeepStack-L": "deepstack",
    "DeepStack-V": "deepstack",
    "DeepStack-L-HD": "deepstack",
    "LLaVA-UHD v2": "uhd_v2",
    "LLaVA-UHD v3": "uhd_v3",
    "LLaVA-UHD": "uhd",
    "ConvLLaVA": "convllava",
    "LLaVA-HR": "llava_hr",
    "DeepSeek-VL": "deepseek_vl",
    "Vary-base": "vary",
    "Vary-tiny": "vary",
    "DeepSeek-OCR 2": "deepseek_ocr2",
    "GOT-OCR 2.0": "got_ocr",
    "InternVL3": "internvl",
    "MiniCPM-V": "minicpm_v",
    "Qwen3-VL": "qwen3_vl",
    "Mixture of features": "encoders",
}
"""The page that describes each method; the method's first row links to it."""


def built(build: Callable[[], VisionLanguageModel]) -> VisionLanguageModel:
    """The model that `build` makes, on the meta device: shapes without data."""
    with torch.device("meta"):
        return build()


def row(name: str, found: Cost, *, short: bool = False) -> str:
    """A row of the table; a short row has no parameters."""
    tokens = f"{found.visual}"
    tokens += f" + {found.stacked} stacked" if found.stacked else ""
    tokens += f" + {found.marks} marks" if found.marks else ""
    sizes, work = found.parameters, found.flops
    parameters = f"{sizes.encoder / 1e6:.1f} M | {sizes.connector / 1e6:.1f} M | {sizes.language_model / 1e6:.0f} M | "
    return (
        f"| {name} | {found.views} | {tokens} | {'' if short else parameters}{work.encoder / 1e12:.2f} | "
        f"{work.connector / 1e12:.3f} | {work.language_model / 1e12:.2f} | {work.total / 1e12:.2f} |"
    )


def page(before: str) -> str:
    """`before` with its two tables updated: for the first picture, and the rows that differ for the second one."""
    first, second = (
        {name: cost(built(build), [size], text=TEXT) for name, build in METHODS.items()} for size in PICTURES
    )
    pages, rows = dict(PAGES), []
    for name, found in first.items():
        method = next((each for each in pages if name.startswith(each)), None)
        rows.append(row(name if method is None else name.replace(method, f"[{method}]({pages.pop(method)}.md)"), found))
    differing = [row(name, found, short=True) for name, found in second.items() if found != first[name]]
    tables = iter(["\n".join((*HEAD, *rows)), "\n".join((*SHORT_HEAD, *differing))])
    return re.sub(r"^\|.*(\n\|.*)*", lambda _: next(tables), before, flags=re.MULTILINE)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", type=picture_size, nargs="+", default=PICTURES, metavar="WxH", help="size of the picture in pixels"
    )
    parser.add_argument("--tiny", action="store_true", help="only the first method and picture")
    parser.add_argument("--write", action="store_true", help="write the tables of docs/methods.md")
    given = parser.parse_args()
    if given.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
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
