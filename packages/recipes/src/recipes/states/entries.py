"""The entries of a state's manifest and their types: a checksum shows damage, but not what was written on purpose."""

from collections.abc import Mapping
from typing import Any

RUN: dict[str, Any] = {
    "step": int,
    "ranks": int,
    "validated": bool,
    "optimizer": str,
    "precision": str,
    "frozen": [int],
    "scaler": {str: (int, float)},
    "position": {"epoch": int, "samples": int, "batch_size": int, "parts": int},
    "data": {"samples": int, "fingerprint": str},
}
"""What a run writes about its position; a list stands for one entry or more, `str` as a key for any number."""
TENSORS: dict[str, Any] = {
    "files": {str: {"bytes": int, "sha256": str}},
    "tensors": {str: [{"file": str, "first": int, "rows": int}]},
}


def wrong_entry(manifest: Mapping[str, Any]) -> str:
    """The first entry whose value is of another type, such as `position.epoch`; empty if there is none.

    Entries of `RUN` may be missing, see `missing_entry`.
    """
    for name, kind in (TENSORS | {name: kind for name, kind in RUN.items() if name in manifest}).items():
        if wrong := _wrong(manifest.get(name), kind, name):
            return wrong
    return ""


def missing_entry(manifest: Mapping[str, Any]) -> str:
    """The first entry of `RUN` that a manifest lacks; empty if there is none."""
    return next((name for name in RUN if name not in manifest), "")


def _wrong(value: Any, kind: Any, name: str) -> str:
    inside: list[tuple[str, Any, Any]]
    if isinstance(kind, list):
        if not isinstance(value, list) or not value:
            return name
        inside = [(f"{name}[{place}]", each, kind[0]) for place, each in enumerate(value)]
    elif isinstance(kind, dict):
        if not isinstance(value, dict) or (str not in kind and value.keys() != kind.keys()):
            return name
        inside = [(f"{name}.{key}", each, kind.get(str, kind.get(key))) for key, each in value.items()]
    else:
        # A truth value is a whole number in Python.
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        return "" if fits else name
    return next(filter(None, (_wrong(each, of, where) for where, each, of in inside)), "")
