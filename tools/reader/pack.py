"""Put a trained reader into its package, in bfloat16: `python -m tools.reader.pack RUN`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from foveal.models import load, save
from recipes.command_line.checkpoints import checkpoint_in

FOLDER = Path(__file__).parents[2] / "packages/reader/src/foveal/reader/checkpoint"
MOST = 8_000_000
"""Bytes of weights that the package may have."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the checkpoint and print its size."""
    parser = argparse.ArgumentParser(prog="python -m tools.reader.pack", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run or of its checkpoint")
    parser.add_argument("--output", type=Path, default=FOLDER, help="another folder than the package's")
    given = parser.parse_args(arguments)
    print(f"{pack(given.run, given.output):,} bytes of weights: {given.output}")


def pack(run: Path, output: Path) -> int:
    """Write a run's model, rounded to bfloat16; returns the bytes of its weights.

    Raises:
        ValueError: if the weights are too large for the package.
    """
    model = load(checkpoint_in(run))
    if (size := sum(weight.numel() for weight in model.parameters()) * 2) > MOST:
        raise ValueError(f"{run}: the weights have {size:,} bytes in bfloat16, and at most {MOST:,} are allowed")
    folder = save(model.bfloat16(), output)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


if __name__ == "__main__":
    main()
