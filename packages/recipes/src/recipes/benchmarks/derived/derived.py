"""Values of a question that are made of the fields of its row."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from recipes.benchmarks.rows.row import Row


class Derived(ABC):
    """Makes values of fields.

    Attributes:
        names: the values that it always makes.
    """

    names: tuple[str, ...]

    @abstractmethod
    def values(self, row: Row) -> Mapping[str, Any]:
        """The values, by name.

        Raises:
            ValueError: naming file and field, if one is missing or has another form.
        """
