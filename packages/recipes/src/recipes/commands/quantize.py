"""A checkpoint with a decoder in 4 or 8 bits, from one without: `python -m tools.quantize IN OUT`."""

import argparse
import re
from pathlib import Path
from typing import get_args

from foveal.encoders.hub import folder_of
from foveal.models import load, save
from foveal.models.checkpoints.adapter import is_adapter
from foveal.models.language_models.quantize import Kind, quantized_layers
from recipes.command_line.console import calm, short_errors, stop
from recipes.command_line.options import add_reading_options


def main() -> None:
    """Quantise while loading, save, and say what became how small.

    Raises:
        SystemExit: with 2 for wrong usage, with 1 for an input that cannot be used.
    """
    calm()
    options = _parser().parse_args()
    if options.output.exists():
        stop(f"{options.output} exists", "choose a folder that does not")
    with short_errors():
        if is_adapter(options.input):
            stop(f"{options.input} holds adapters", f"merge them first: python -m tools.merge {options.input} MERGED")
        try:
            model = load(options.input, quantize=options.kind, template=options.template, encoder=options.encoder)
        except ImportError as error:
            stop(str(error))
        before = _megabytes(folder_of(str(options.input)))
        save(model, options.output)
    layers = quantized_layers(model.language_model)
    print(f"{len(layers)} layers as {options.kind}:")
    for pattern in sorted({re.sub(r"\.\d+\.", ".*.", name) for name in layers}):
        print(f"  language_model.{pattern}")
    print(f"the model's weights: {before:.1f} MB -> {_megabytes(options.output):.1f} MB, in {options.output}")


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.quantize", description="Quantise the decoder of a checkpoint; everything else stays."
    )
    parser.add_argument(
        "input", type=Path, metavar="IN", help="folder that recipes.fit has saved, or a published checkpoint"
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="new folder")
    parser.add_argument("--kind", choices=get_args(Kind), default="nf4-dq", help="of quantisation (default: nf4-dq)")
    add_reading_options(parser)
    return parser


if __name__ == "__main__":
    main()
