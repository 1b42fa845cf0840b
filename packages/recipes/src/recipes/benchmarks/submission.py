"""What the server of a benchmark takes."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from recipes.benchmarks.item import Item

OURS = re.compile(
    r"\.{0,2}|(settings|scores)\.json|predictions\.jsonl|report\.html|answers[_-].*|.*[/\\\0].*", re.DOTALL
)
"""Names of an evaluation's other files, and names that lead out of its folder."""


class Submission(ABC):
    """Writes answers as a benchmark's server, or its authors' own evaluation, reads them.

    Attributes:
        file: name of the file, or of the folder, in the evaluation's output folder.
    """

    file: str

    @abstractmethod
    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        """Write all answers; a missing one (None) as the server expects it.

        Args:
            items: all questions of the benchmark, in order.
            answers: one for each.
            path: the file or folder to write; an earlier one is replaced.
        """
