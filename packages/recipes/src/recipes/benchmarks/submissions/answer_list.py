"""A JSON list with an object for every answer."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from recipes.benchmarks.item import Item
from recipes.benchmarks.submission import Submission
from recipes.metrics.vqa import evalai_normalised

Normal = Literal["none", "evalai", "gqa"]


def gqa_normalised(text: str) -> str:
    """An answer as LLaVA sends it to GQA's evaluation."""
    return text.rstrip(".").lower()


NORMAL: Mapping[Normal, Callable[[str], str]] = {"none": str, "evalai": evalai_normalised, "gqa": gqa_normalised}


class AnswerList(Submission):
    """`[{id: ..., answer: ...}, ...]`, for VQA v2, TextVQA, VizWiz, DocVQA, InfoVQA, MP-DocVQA and GQA's evaluation.

    A missing answer is an empty text: servers refuse files in which a question is missing.

    Args:
        id: name of the id.
        answer: name of the answer.
        whole: whether ids are whole numbers.
        normal: how answers are changed: `none`; `evalai`: EvalAI's normaliser, as LLaVA sends answers to VQA v2 and
            VizWiz, and lmms-eval to TextVQA; `gqa`: lower case, without full stops at the end.
        same: what every object has besides, by name.
        file: name of the file.
    """

    def __init__(
        self,
        id: str = "question_id",
        answer: str = "answer",
        *,
        whole: bool = False,
        normal: Normal = "none",
        same: Mapping[str, str | None] | None = None,
        file: str = "submission.json",
    ) -> None:
        self.id, self.answer, self.whole, self.normal, self.same, self.file = (
            id,
            answer,
            whole,
            normal,
            same or {},
            file,
        )

    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        rows = []
        for item, answer in zip(items, answers, strict=True):
            said = NORMAL[self.normal](answer or "")
            rows.append({self.id: self._key(item), self.answer: said, **self.same})
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")

    def _key(self, item: Item) -> Any:
        if not self.whole:
            return item.key
        try:
            return int(item.key)
        except ValueError as error:
            raise ValueError(f"{item.where}: the server takes whole numbers as ids, not {item.key!r:.60}") from error
