"""Where the questions of a benchmark come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from recipes.benchmarks.item import Item


class Records(ABC):
    """Reads the files of a benchmark as people have them; its arguments are written in the benchmark's YAML.

    Attributes:
        needs_folder: whether there are files to read.
    """

    needs_folder: ClassVar[bool] = True

    @abstractmethod
    def items(self, folder: Path) -> Iterator[Item]:
        """All questions, in order; pictures are found but not read.

        Args:
            folder: the folder of the benchmark's files, as its authors publish them.

        Raises:
            ValueError: naming file and field, if one is missing or has another form; naming the split or version, if
                the files are those of another.
            OSError: if a file cannot be read.
        """
