"""The type of a call, taken from another function."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def typed_as(function: Callable[P, R]) -> Callable[[Callable[..., Any]], Callable[P, R]]:
    """Give type checkers the arguments and the result of `function` for the decorated one, which stays as it is.

    Calling a module of torch runs its `forward`, but is annotated to return anything. A class corrects that with

        if TYPE_CHECKING:

            @typed_as(forward)
            def __call__(self) -> None: ...

    Args:
        function: whose type it is.
    """
    return lambda decorated: decorated
