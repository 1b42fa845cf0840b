"""Check plain values against the type annotations of a signature."""

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def hints_of(kind: type) -> dict[str, Any]:
    """The types of a constructor's arguments by name; empty if they cannot be determined."""
    try:
        return get_type_hints(kind.__init__)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def check_values(hints: Mapping[str, Any], values: Mapping[str, Any], *, source: str) -> None:
    """Refuse values that are not of their annotated types.

    Raises:
        ValueError: naming `source`, the first such argument, its value and the expected type.
    """
    for name, value in values.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f"{source}: {name} is {value!r:.60}, but must be {_said(hints[name])}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; only numbers, strings, sequences and classes are checked."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return value in inner
    if hint in (None, NoneType):
        return value is None
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    kind = origin or hint
    if inspect.isclass(kind) and issubclass(kind, Sequence):
        if not isinstance(value, list | tuple):
            # Another type of sequence, such as nn.ModuleList.
            return not isinstance(value, str | int | float | NoneType)
        return _elements_fit(value, kind, inner)
    # For other classes, only plain values are refused: the class of a part may differ from the annotation.
    return not (inspect.isclass(hint) and hint is not object and isinstance(value, str | int | float | NoneType))


def _elements_fit(values: Sequence[Any], kind: type, inner: tuple[Any, ...]) -> bool:
    if issubclass(kind, tuple) and inner and inner[-1] is not Ellipsis:
        return len(values) == len(inner) and all(map(fits, values, inner))
    return not inner or all(fits(value, inner[0]) for value in values)


def _said(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_said, get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return "null" if hint in (None, NoneType) else inspect.formatannotation(hint).replace("typing.", "")
