"""Map published weight names to ours, with a table read in both directions."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Published = str | tuple[str, ...]


class KeyMap:
    """A table from published names to ours.

    `{}` in a name stands for a number, the same on both sides. None instead of our name means that the tensor is left
    out on purpose. A tuple of published names means that their tensors are joined along the first dimension into one of
    ours, such as the query, key and value projections.

    Args:
        table: published name or names -> our name or None. The first row that matches a name is used.

    Raises:
        ValueError: if the two sides of a row have different numbers of `{}`.
    """

    def __init__(self, table: Mapping[Published, str | None]) -> None:
        self.rows = [
            ((published,) if isinstance(published, str) else published, ours) for published, ours in table.items()
        ]
        for names, ours in self.rows:
            if ours is not None and any(name.count("{}") != ours.count("{}") for name in names):
                raise ValueError(f"key map row {names} -> {ours}: both sides need the same number of {{}}")

    def read(self, tensors: Mapping[str, Tensor], *, source: str = "the given tensors") -> dict[str, Tensor]:
        """Rename the tensors to our names.

        Raises:
            ValueError: if a name matches no row, two names map to the same one, or tensors to be joined are missing or
                differ in shape; the message names `source`.
        """
        read: dict[str, Tensor] = {}
        unknown: list[str] = []
        joined: dict[str, tuple[tuple[str, ...], dict[int, Tensor]]] = {}
        for name, tensor in tensors.items():
            place = self._place(name)
            if place is None:
                unknown.append(name)
                continue
            names, ours, numbers, position = place
            if ours is None:
                continue
            target = _fill(ours, numbers)
            filled = tuple(_fill(partner, numbers) for partner in names)
            taken, parts = joined.setdefault(target, (filled, {}))
            if taken != filled:
                raise ValueError(f"{source}: {name} and {taken[0]} would both become {target}")
            parts[position] = tensor
        if unknown:
            raise ValueError(f"{source}: {len(unknown)} tensors of unknown name, among them {sorted(unknown)[:5]}")
        for target, (names, parts) in joined.items():
            if missing := [name for position, name in enumerate(names) if position not in parts]:
                raise ValueError(f"{source}: {missing} missing, to be joined with {sorted(set(names) - set(missing))}")
            read[target] = parts[0] if len(names) == 1 else _join(names, parts, source)
        return read

    def write(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `read`: rename the tensors to their published names, and split joined ones again.

        Raises:
            ValueError: if no row leads to a name, or a joined tensor does not split evenly.
        """
        written: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            for names, ours in self.rows:
                if ours is not None and (match := _pattern(ours).fullmatch(name)):
                    if len(names) > 1 and len(tensor) % len(names):
                        raise ValueError(f"{name} has {len(tensor)} rows, which do not split into {len(names)} parts")
                    parts = tensor.chunk(len(names)) if len(names) > 1 else (tensor,)
                    written |= {_fill(n, match.groups()): part for n, part in zip(names, parts, strict=True)}
                    break
            else:
                raise ValueError(f"no row of the key map leads to {name}")
        return written

    def _place(self, name: str) -> tuple[tuple[str, ...], str | None, tuple[str, ...], int] | None:
        for names, ours in self.rows:
            for position, published in enumerate(names):
                if match := _pattern(published).fullmatch(name):
                    return names, ours, match.groups(), position
        return None


def _join(names: tuple[str, ...], parts: Mapping[int, Tensor], source: str) -> Tensor:
    shapes = {name: tuple(parts[position].shape) for position, name in enumerate(names)}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{source}: tensors to be joined must have the same shape, found {shapes}")
    return torch.cat([parts[position] for position in range(len(names))])


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"))


def _fill(name: str, numbers: tuple[str, ...]) -> str:
    return name.format(*numbers) if numbers else name
