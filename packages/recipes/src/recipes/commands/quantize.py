"""Quantise the decoder of a checkpoint to 4 or 8 bits."""

import argparse
import re
from pathlib import Path

from foveal.encoders.hub import folder_of
from foveal.models import load, save
from foveal.models.checkpoints.adapter import is_adapter
from foveal.models.language_models.quantize import quantized_layers
from recipes.command_line.console import calm, short_errors, stop


def main(options: argparse.Namespace) -> None:
    """Quantise while loading, save, and print the layers and the sizes before and after.

    Args:
        options: as `quantize_options` returns them.

    Raises:
        SystemExit: with 2 for adapters or if a library is missing, 1 for unusable input.
    """
    calm()
    with short_errors():
        given = options.checkpoint
        if is_adapter(given):
            stop(f"{given} holds adapters", f"merge them first: python -m recipes.merge {given} MERGED")
        try:
            model = load(
                given,
                quantize=options.kind,
                template=options.template,
                encoder=options.encoder,
                allow=options.allow_import,
            )
        except ImportError as error:
            stop(str(error))
        before = _megabytes(folder_of(str(given)))
        save(model, options.output)
    layers = quantized_layers(model.language_model)
    print(f"{len(layers)} layers as {options.kind}:")
    for pattern in sorted({re.sub(r"\.\d+\.", ".*.", name) for name in layers}):
        print(f"  language_model.{pattern}")
    print(f"the model's weights: {before:.1f} MB -> {_megabytes(options.output):.1f} MB, in {options.output}")


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6
