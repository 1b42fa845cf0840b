"""Key information: records of fields, compared by values or as trees."""

import json
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_lengths, distance
from recipes.metrics.extras import library
from recipes.metrics.mean import Mean, add_counts

FENCED = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
LINE = re.compile(r"""^\s*+["']?([\w ]+?)["']?\s*+:\s*["']?(.*?)["']?,?\s*$""", re.MULTILINE)
"""`key: value`. White space is never tried in two ways (`*+`): an answer may be thousands of spaces."""

Record = Mapping[str, Any]


class FieldF1(Metric):
    """Micro F1 of field values over all records (Donut, Kim et al., arXiv 2111.15664, section 3.3).

    A field is its path of names and its value; case counts, spaces around a value do not. Values of two lines that are
    exchanged still count as right: see `TreeAccuracy`.

    Attributes:
        missing: number of missing records.
    """

    higher_is_better = True
    full_state_update = False
    right: Tensor
    wrong: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        add_counts(self, "right", "wrong", "missing")

    def update(self, predictions: Sequence[Record | None], answers: Sequence[Record]) -> None:
        """Add records; None: missing, or not to be read as one.

        Raises:
            ValueError: if the lengths differ.
        """
        check_lengths(predictions=predictions, answers=answers)
        for prediction, answer in zip(predictions, answers, strict=True):
            right, wrong = field_counts(prediction or {}, answer)
            self.right, self.wrong = self.right + right, self.wrong + wrong
            self.missing = self.missing + (prediction is None)

    def compute(self) -> Tensor:
        """The F1, 0 to 1; 1 if no record has a field."""
        return field_f1(self.right, self.wrong)


class TreeAccuracy(Mean):
    """1 - the distance of the records' trees, relative to that of an empty record (Donut, section 3.3: nTED).

    Raises:
        ImportError: without zss, when records are added.
    """

    def update(self, predictions: Sequence[Record | None], answers: Sequence[Record]) -> None:
        """Add records; None: missing, or not to be read as one.

        Raises:
            ValueError: if the lengths differ.
        """
        check_lengths(predictions=predictions, answers=answers)
        for prediction, answer in zip(predictions, answers, strict=True):
            self.add(None if prediction is None else tree_accuracy(prediction, answer))


class Node(NamedTuple):
    """A node of a record's tree: a name with what it holds, or a value."""

    text: str
    is_value: bool
    children: tuple["Node", ...] = ()


def read_record(text: str) -> dict[str, Any] | None:
    """The record in an answer: in a fenced block, as JSON, as a Python literal, or as lines `key: value`.

    Returns:
        None if there is none.
    """
    fenced = FENCED.search(text)
    inside = fenced[1] if fenced else text
    for read in (json.loads, literal_eval):
        try:
            found = read(inside.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    lines = {key.strip(): value for key, value in LINE.findall(inside)}
    return lines or None


def fields(record: Any) -> list[tuple[str, str]]:
    """Every value of a record with its path of names, as `("menu.nm", "tea")`."""
    return list(_walk(normal_record(record), ""))


def field_counts(prediction: Record, answer: Record) -> tuple[int, int]:
    """Fields that both records have, and fields that only one of them has."""
    said, true = Counter(fields(prediction)), Counter(fields(answer))
    right = (said & true).total()
    return right, said.total() + true.total() - 2 * right


def field_f1(right: Tensor, wrong: Tensor) -> Tensor:
    """F1 of the counts of all records; 1 if none has a field."""
    whole = right + wrong / 2
    return (right / whole).float() if whole else torch.ones((), device=right.device)


def normal_record(value: Any) -> Any:
    """A record without empty values: values are lists of stripped texts, names are sorted by length, then letters."""
    if not value:
        return {}
    if isinstance(value, Mapping):
        cleaned = {key: normal_record(value[key]) for key in sorted(value, key=lambda key: (len(str(key)), str(key)))}
        return {key: each if isinstance(each, list) else [each] for key, each in cleaned.items() if each}
    if isinstance(value, list):
        if all(isinstance(each, Mapping) for each in value):
            return [each for each in map(normal_record, value) if each]
        return [str(each).strip() for each in value if isinstance(each, str | int | float) and str(each).strip()]
    return [str(value).strip()]


def tree_accuracy(prediction: Record, answer: Record) -> float:
    """The score of `TreeAccuracy` for one record; 1 for two empty ones.

    Raises:
        ImportError: without zss.
    """
    said, true, empty = (_tree(normal_record(record), "<root>") for record in (prediction, answer, {}))
    furthest = _tree_distance(empty, true)
    if furthest == 0:
        return float(not said.children)
    return max(0.0, 1 - _tree_distance(said, true) / furthest)


def _tree(value: Any, name: str) -> Node:
    if isinstance(value, Mapping):
        return Node(name, False, tuple(_tree(each, str(key)) for key, each in value.items()))
    if all(isinstance(each, Mapping) for each in value):
        return Node(name, False, tuple(_tree(each, "<subtree>") for each in value))
    return Node(name, False, tuple(Node(each, True) for each in value))


def _tree_distance(first: Node, second: Node) -> float:
    found: float = library("zss").distance(
        first,
        second,
        lambda node: node.children,
        insert_cost=_size,
        remove_cost=_size,
        update_cost=_change,
    )
    return found


def _size(node: Node) -> int:
    """The cost of adding or removing a node: characters of a value, 1 for a name."""
    return len(node.text) if node.is_value else 1


def _change(first: Node, second: Node) -> int:
    """The cost of turning one node into the other."""
    if first.is_value and second.is_value:
        return distance(first.text, second.text)
    if first.is_value or second.is_value:
        return 1 + distance(first.text, second.text)
    return int(first.text != second.text)


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, path)
    else:
        yield path, value
