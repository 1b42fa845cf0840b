"""Answers to be judged by a language model."""

import json
from collections.abc import Sequence
from pathlib import Path

from recipes.benchmarks.item import Item
from recipes.benchmarks.submission import Submission


class ForJudges(Submission):
    """JSON lines `{"id", "question", "answer", "prediction"}`, as judges of open video questions are asked with.

    Args:
        question: value that holds the question.
        answer: value with the accepted answer, or a list of them, of which the first is written.
        file: name of the file.
    """

    def __init__(self, question: str = "question", answer: str = "answers", *, file: str = "for_judges.jsonl") -> None:
        self.question, self.answer, self.file = question, answer, file

    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        with path.open("w", encoding="utf-8") as stream:
            for item, said in zip(items, answers, strict=True):
                truth = item.values[self.answer]
                row = {
                    "id": item.key,
                    "question": item.values[self.question],
                    "answer": truth[0] if isinstance(truth, list) else truth,
                    "prediction": said or "",
                }
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
