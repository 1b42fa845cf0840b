"""Account for every file of a folder that is converted: read, copied, or left out for a reason."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from foveal.core.tensors import PICKLED

STATE = re.compile(r"training_args\.bin|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state.*\.pth")
"""Pickled files of transformers' trainer next to weights, which no model needs."""
FOREIGN = (".h5", ".msgpack", ".onnx", ".gguf", ".npz", ".tflite", ".pkl")


@dataclass(frozen=True)
class Others:
    """The files of a folder besides those that are read.

    Attributes:
        weights: names of files of weights.
        files: names of all others that a converted folder may have as well.
        left_out: name -> why it is never read or copied.
    """

    weights: tuple[str, ...]
    files: tuple[str, ...]
    left_out: dict[str, str]

    @classmethod
    def of(cls, folder: Path, read: Collection[str]) -> Self:
        """Sort the content of `folder`, except the files `read`."""
        weights, files, left_out = [], [], {}
        for path in sorted(folder.iterdir()):
            if path.name in read:
                continue
            if not path.is_file():
                left_out[path.name] = "a folder"
            elif STATE.fullmatch(path.name):
                left_out[path.name] = "the state of a training"
            elif path.suffix in FOREIGN:
                left_out[path.name] = "of another library"
            elif path.name.endswith(".index.json"):
                left_out[path.name] = "an index of other files"
            elif path.suffix in (*PICKLED, ".safetensors"):
                weights.append(path.name)
            else:
                files.append(path.name)
        return cls(tuple(weights), tuple(files), left_out)


@dataclass(frozen=True)
class Account:
    """What became of a folder's files.

    Attributes:
        tensors: number of tensors written.
        copied: names of files that were copied.
        left_out: name -> reason, for files that were not.
    """

    tensors: int
    copied: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def files_said(self) -> str:
        """Lines for the files that hold no converted weights; empty if there are none."""
        copied = f"\ncopied: {', '.join(self.copied)}" if self.copied else ""
        return copied + left_out_said(self.left_out)


def left_out_said(left_out: Mapping[str, str]) -> str:
    """A line with the files that were left out and the reasons; empty if there are none."""
    return "\nleft out: " + ", ".join(f"{name} ({why})" for name, why in left_out.items()) if left_out else ""
