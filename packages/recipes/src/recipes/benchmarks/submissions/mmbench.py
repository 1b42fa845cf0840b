"""The table that MMBench's server reads."""

from collections.abc import Sequence
from pathlib import Path

from recipes.benchmarks.item import Item
from recipes.benchmarks.submission import Submission
from recipes.reading.extras import extra

OPTIONS = "ABCD"


class MmbenchTable(Submission):
    """An Excel table with a row for each question: index, question, A to D, the answer if it is known, and prediction.

    Args:
        file: name of the file.

    Raises:
        ImportError: without openpyxl, when it is written.
    """

    def __init__(self, file: str = "submission.xlsx") -> None:
        self.file = file

    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        excel = extra("openpyxl", "xlsx", "writing MMBench's table")
        cell = extra("openpyxl.cell.cell", "xlsx", "writing MMBench's table")
        known = any("answer" in item.values for item in items)
        book = excel.Workbook(write_only=True)
        sheet = book.create_sheet()
        sheet.append(["index", "question", *OPTIONS, *(["answer"] if known else []), "prediction"])
        for item, said in zip(items, answers, strict=True):
            options = [*item.values["options"], *[None] * len(OPTIONS)][: len(OPTIONS)]
            texts = [item.values["question"], *options, *([item.values.get("answer")] if known else []), said or ""]
            row = [cell.WriteOnlyCell(sheet, item.values["index"])]
            for text in texts:
                # Excel has no control characters, and a text that begins with = is no formula.
                clean = None if text is None else cell.ILLEGAL_CHARACTERS_RE.sub(" ", text)
                row.append(cell.WriteOnlyCell(sheet, clean))
                if clean:
                    row[-1].data_type = "s"
            sheet.append(row)
        book.save(path)
