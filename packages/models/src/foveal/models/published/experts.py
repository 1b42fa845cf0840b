"""Experts of a mixture that are stored one by one, and are one tensor in the model."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
JOINED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}
"""transformers' tensors of all experts of a layer, and the matrices that each has of an expert, from top to bottom."""


@dataclass(frozen=True)
class Experts:
    """Joins the experts of a layer in a stream of tensors; at most the experts of the layers at hand are in memory.

    Files have `experts.N.gate_proj.weight` and its neighbours, as in the released code of DeepSeek's models;
    transformers computes with `experts.gate_up_proj` [experts, 2 * width inside, width] and `experts.down_proj`
    [experts, width, width inside].

    Attributes:
        number: experts of a layer.
        source: named in errors.
    """

    number: int
    source: str

    def __call__(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The same tensors, with each layer's experts in place of the single ones, once all of them were there.

        Raises:
            ValueError: if an expert is missing or has another shape than the others, or its number is too high.
        """
        waiting: dict[str, dict[tuple[int, str], Tensor]] = {}
        for name, tensor in tensors:
            match = EXPERT.fullmatch(name)
            if match is None:
                yield name, tensor
                continue
            place, number, matrix = match[1], int(match[2]), match[3]
            if number >= self.number:
                raise ValueError(f"{self.source}: {name}: config.json counts {self.number} experts, from 0")
            joined = next(joined for joined, parts in JOINED.items() if matrix in parts)
            parts = waiting.setdefault(f"{place}.{joined}", {})
            parts[number, matrix] = tensor
            if len(parts) == self.number * len(JOINED[joined]):
                del waiting[f"{place}.{joined}"]
                yield f"{place}.{joined}", self._joined(parts, f"{place}.{joined}")
        if waiting:
            name, parts = next(iter(waiting.items()))
            expected = [(number, matrix) for number in range(self.number) for matrix in JOINED[name.rpartition(".")[2]]]
            number, matrix = next(each for each in expected if each not in parts)
            missing = f"{name.rpartition('.')[0]}.{number}.{matrix}.weight"
            raise ValueError(f"{self.source}: {missing} is missing, other experts are there")

    def _joined(self, parts: dict[tuple[int, str], Tensor], name: str) -> Tensor:
        shapes = {tuple(tensor.shape) for tensor in parts.values()}
        if len(shapes) > 1:
            raise ValueError(f"{self.source}: the experts of {name} have several shapes: {sorted(shapes)}")
        matrices = JOINED[name.rpartition(".")[2]]
        return torch.stack([torch.cat([parts[number, each] for each in matrices]) for number in range(self.number)])
