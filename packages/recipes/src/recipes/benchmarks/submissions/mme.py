"""The files that MME's own evaluation reads."""

from collections.abc import Sequence
from pathlib import Path

from recipes.benchmarks.item import Item
from recipes.benchmarks.submission import Submission


class MmeFiles(Submission):
    """A folder with a file for each subtask: lines of picture, question, answer and prediction, with tabs between.

    MME's evaluation takes every two lines as one picture's, so that both questions are written one after the other.
    Line ends and tabs in predictions become spaces, since they would end the line or the field.

    Args:
        file: name of the folder.
    """

    def __init__(self, file: str = "mme") -> None:
        self.file = file

    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        pairs: dict[str, dict[str, list[str]]] = {}
        for item, said in zip(items, answers, strict=True):
            subtask, picture = item.values["subtask"], item.values["picture"].rpartition("/")[2]
            if Path(subtask).name != subtask:
                raise ValueError(f"{item.where}: the subtask {subtask!r:.60} is no name of a file")
            cells = [picture, item.values["original"], item.values["answer"], " ".join((said or "").split())]
            pairs.setdefault(subtask, {}).setdefault(picture, []).append("\t".join(cells))
        path.mkdir(exist_ok=True)
        for subtask, pictures in pairs.items():
            lines = [line for pair in pictures.values() for line in pair]
            (path / f"{subtask}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
