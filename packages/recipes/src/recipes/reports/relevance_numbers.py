"""The numbers of relevance maps as plain types, for JSON."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.core import Box, Size
from foveal.models import Explanation, QueryToPatch
from foveal.models.relevance.numbers import (
    coverage,
    duplicate_groups,
    duplicates,
    effective_queries,
    localisation,
    localisation_in_any,
    peak,
)


def numbers_of(explained: Explanation, box: Box | None = None) -> dict[str, Any]:
    """The numbers of an explanation.

    Args:
        explained: what was explained.
        box: on the first picture, where the answer stands.
    """
    first = explained.sizes[0]
    even = np.ones_like(explained.over_answer[0])
    return {
        "question": explained.question,
        "answer": explained.answer,
        "connector": explained.connector,
        "by_rules": explained.by_rules,
        "pictures": [list(size) for size in explained.sizes],
        "box": None if box is None else list(box),
        "box_area": None if box is None else localisation(even, box, first),
        "whole_answer": {
            **_of_maps(explained.over_answer, explained.sizes, box),
            "text_to_query": _of_tokens(explained.text_to_query),
        },
        "words": [
            {
                "word": word.word,
                **_of_maps(word.maps, explained.sizes, box),
                "text_to_query": _of_tokens(word.text_to_query),
            }
            for word in explained.per_word
        ],
        "query_to_patch": [_of_views(each) for each in explained.query_to_patch],
    }


def summary_of(explained: Explanation, boxes: Sequence[Box]) -> Mapping[str, float]:
    """The numbers of an explanation that are worth a mean over many.

    `relevance` on all pictures; `duplicates`, `coverage` and `effective_queries`, means over sets of views; with boxes
    also `in_boxes`, the share of the first picture's relevance in them, and `boxes_area`, their share of the picture.

    Args:
        explained: what was explained.
        boxes: on the first picture, where the answer stands.
    """
    tables = [torch.cat(each.tables, dim=1) for each in explained.query_to_patch]
    found = {"relevance": float(sum(each.sum() for each in explained.over_answer))}
    for number in (duplicates, coverage, effective_queries):
        found[number.__name__] = mean(map(number, tables))
    if boxes:
        relevance, size = explained.over_answer[0], explained.sizes[0]
        found["in_boxes"] = localisation_in_any(relevance, boxes, size)
        found["boxes_area"] = localisation_in_any(np.ones_like(relevance), boxes, size)
    return found


def _of_maps(maps: Sequence[np.ndarray[Any, Any]], sizes: Sequence[Size], box: Box | None) -> dict[str, Any]:
    """The sum of the maps, the picture with most of it and its peak (None if there is no relevance at all: the answer
    does not depend on the picture), and the share of the first map in the box."""
    sums = [float(found.sum()) for found in maps]
    most = sums.index(max(sums))
    x, y = peak(maps[most], sizes[most])
    numbers: dict[str, Any] = {
        "relevance": sum(sums),
        "peak": {"picture": most, "x": round(x, 1), "y": round(y, 1)} if sums[most] > 0 else None,
    }
    if box is not None:
        numbers["in_box"] = localisation(maps[0], box, sizes[0])
    return numbers


def _of_tokens(sets: Sequence[Tensor]) -> list[list[float]]:
    """The relevance of the visual tokens of every set of views, to four digits."""
    return [[float(f"{value:.4g}") for value in tokens.tolist()] for tokens in sets]


def _of_views(each: QueryToPatch) -> dict[str, Any]:
    table = torch.cat(each.tables, dim=1)
    return {
        "picture": each.picture,
        "views": each.number,
        "grids": [list(grid) for grid in each.grids],
        "tokens": len(table),
        "patches": table.shape[1],
        "duplicates": duplicates(table),
        "duplicate_groups": duplicate_groups(table),
        "coverage": coverage(table),
        "effective_queries": effective_queries(table),
    }
