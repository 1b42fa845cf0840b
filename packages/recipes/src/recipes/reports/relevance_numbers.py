"""The numbers of relevance maps as plain types, for JSON."""

from collections.abc import Sequence
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
