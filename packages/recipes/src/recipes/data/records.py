"""Conversations that were checked, whatever they are read from."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.core import Size
from foveal.models import Turn
from recipes.reading.pictures import Source

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Record:
    """One conversation.

    Attributes:
        key: its id, or its location.
        images: its pictures.
        turns: its turns; empty if they could not be read.
        fault: why it cannot be used; empty: no fault is known.
    """

    key: str
    images: tuple[Source, ...]
    turns: tuple[Turn, ...]
    fault: str = ""


class Records(Sequence[Record]):
    """Conversations by number. They are read when they are asked for; only a few bytes of each are kept in memory.

    Attributes:
        source: the file or folder, for messages.
        faults: why records cannot be used, by number. They keep their number, so that the order of the others does not
            change when they are mended.
        modality_lengths: [records], number of words of each; negative: the record has no picture.
        answers: [records], number of answers in each; 0 if it cannot be used.
    """

    source: str
    faults: Mapping[int, str]
    modality_lengths: Array
    answers: Array

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of all texts, names of pictures and ids, in their order."""

    @abstractmethod
    def text(self, number: int) -> tuple[str, tuple[Turn, ...]]:
        """The key and the turns of a record; none if it cannot be used."""

    @abstractmethod
    def location(self, number: int) -> str:
        """Where a record is, with its id, for messages."""

    @abstractmethod
    def sizes(self, number: int) -> tuple[Size, ...]:
        """The sizes of a record's pictures, as their headers gave them when the index was made."""

    @abstractmethod
    def images(self, number: int) -> tuple[Source, ...]:
        """The pictures of a record.

        Raises:
            ValueError: naming the record, if one is missing or may not be read.
        """

    def __getitem__(self, number: Any) -> Any:
        """A record, or a list of records for a slice.

        Raises:
            ValueError: as for `images`.
        """
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        if number in self.faults:
            return Record(self.text(number)[0], (), (), self.faults[number])
        key, turns = self.text(number)
        return Record(key, self.images(number), turns)
