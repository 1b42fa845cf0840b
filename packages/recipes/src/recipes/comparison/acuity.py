"""Results of `recipes.acuity`: the smallest characters that models read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.reading.json_value import read_object

RESULTS = "acuity.json"
FORMAT = 1
"""Of the results; changes when a key gets another meaning."""
SAME = ("alphabet", "characters", "sizes", "fonts", "contrasts")
"""Settings of the pages; only heights that were read on the same pages stand in one table."""


@dataclass(frozen=True)
class Acuity:
    """A model's eye test.

    Attributes:
        path: the file of results.
        model: its name there.
        pages: settings of the pages, in words.
        smallest: share of characters read, 0 to 1 -> the smallest height at which it is, in words.
    """

    path: Path
    model: str
    pages: str
    smallest: Mapping[float, str]


def read_acuity(path: Path) -> list[Acuity]:
    """The models of a file of results; those that could not be charted have no heights.

    Raises:
        ValueError: with file and key, if it is not such a file, or has another format.
        OSError: if it cannot be read.
    """
    content = read_object(path)
    if (written := content.get("format", FORMAT)) != FORMAT:
        raise ValueError(
            f"{path} has format {written!r:.20}, this version reads format {FORMAT}: chart the models again with "
            "recipes.acuity, or compare with the version that wrote it"
        )
    try:
        pages = ", ".join(f"{name} {_said(content[name])}" for name in SAME)
        return [
            Acuity(
                path,
                str(each["model"]),
                pages,
                {float(share): _height(found) for share, found in (each["smallest"] or {}).items()},
            )
            for each in content["models"]
        ]
    except KeyError as error:
        raise ValueError(f"{path} has no key {error}, so it does not come from recipes.acuity") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} does not come from recipes.acuity ({error})") from error


def _height(found: Mapping[str, Any]) -> str:
    """A height with its interval; null is beyond the heights that were tested."""
    if found["height"] is None:
        return f"{found['beyond']} all heights tested"
    low, high = (f"{found[side]:.1f}" if found[side] is not None else "?" for side in ("low", "high"))
    return f"{found['height']:.1f} px ({low} to {high})"


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
