"""Whether plain values are what a signature asks for."""

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def hints_of(kind: type) -> dict[str, Any]:
    """The types of a constructor's arguments by name; none where they cannot be told."""
    try:
        return get_type_hints(kind.__init__)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def check_values(hints: Mapping[str, Any], values: Mapping[str, Any], *, source: str) -> None:
    """Refuse values that are not of their annotated types; `source` is named.

    Raises:
        ValueError: naming the first of them, its value and what is expected.
    """
    for name, value in values.items():
        if name in hints and not fits(value, hints[name]):
            raise ValueError(f"{source}: {name} is {value!r:.60}, expected is {_said(hints[name])}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, as far as that is made of numbers, texts, sequences and classes."""
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
            # Another kind of sequence, as a list of modules.
            return not isinstance(value, str | int | float | NoneType)
        return _elements_fit(value, kind, inner)
    # Of other classes only what is plain can be told from them: a part may be built by another one's rules.
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
