"""LLaVA's file of questions for TextVQA, with the words that an OCR system has read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from recipes.benchmarks.rows.json_rows import JsonRows
from recipes.benchmarks.rows.row import Row, Rows

OCR = "Reference OCR token:"


class LlavaTextVqaRows(Rows):
    """Questions with their annotations: its ids are those of pictures, so that picture and question together are
    looked up (LLaVA's eval_textvqa.py).

    Fields are those of the annotation, and `ocr`: the line of OCR tokens with its line end before it, or nothing.

    Args:
        files: names of LLaVA's file; the first that is there is read.
        annotations: rows of TextVQA's own file.
    """

    def __init__(self, files: Sequence[str], annotations: Rows) -> None:
        self.files, self.annotations = files, annotations

    def rows(self, folder: Path) -> Iterator[Row]:
        known: dict[tuple[str, str], Row] = {}
        for row in JsonRows(self.files).rows(folder):
            if not known:
                annotations = self.annotations.rows(folder)
                known = {_key(each.text("image_id"), each.text("question")): each for each in annotations}
            lines = row.text("text").split("\n")
            if len(lines) not in (2, 3) or (len(lines) == 3 and not lines[1].startswith(OCR)):
                raise ValueError(f"{row.where}, text: a question, {OCR!r} and a suffix are expected on 2 or 3 lines")
            found = known.get(_key(row.text("question_id"), lines[0]))
            if found is None:
                raise ValueError(
                    f"{row.where}: TextVQA's own file has no such question about {row.text('question_id')}"
                )
            ocr = f"\n{lines[1]}" if len(lines) == 3 else ""
            yield row._replace(fields={**found.fields, "question": lines[0], "ocr": ocr})


def _key(image: str, question: str) -> tuple[str, str]:
    return image, question.lower()
