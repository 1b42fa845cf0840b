"""One question of a benchmark, with everything that asking and scoring it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from recipes.benchmarks.pictures import FileVideo
from recipes.reading.pictures import Source


class PictureOf(Protocol):
    """A picture that is found when it is needed.

    Attributes:
        name: the same for all questions about this picture, and for no other picture of the benchmark.
    """

    @property
    def name(self) -> str: ...

    def find(self) -> Source:
        """Its file, page or bytes.

        Raises:
            ValueError: naming the record, if it is missing or may not be read.
        """
        ...


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        key: its id; `evaluate` refuses two of one id.
        values: what the prompt, the metric, the groups and submissions read, by name: `question` and the accepted
            answers among them.
        pictures: in the order in which the prompt shows them.
        video: from which frames are taken; None: there is none.
        where: file and record, for messages.
    """

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[PictureOf, ...] = ()
    video: FileVideo | None = None
    where: str = ""
