"""A benchmark: its questions, prompts, metric and submission."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torchmetrics import Metric

from foveal.core import Box
from recipes.benchmarks.item import Item
from recipes.benchmarks.records import Records
from recipes.benchmarks.rows.row import shown
from recipes.benchmarks.submission import Submission
from recipes.reading.clean_text import clean_text

Prompts = Literal["llava", "lmms_eval"]
"""Whose prompts and lengths of answers: LLaVA-1.5's evaluation, or lmms-eval's tasks."""
FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Prompt:
    """How a question is asked.

    Attributes:
        text: with `{name}` for values of the item; pictures come first unless it has `<image>`.
        max_new_tokens: longest answer in tokens.
        stop: texts before which an answer ends.
    """

    text: str
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()

    def of(self, item: Item) -> str:
        """The text for an item.

        Raises:
            ValueError: if the item lacks a value, or one of them is no text that can be read.
        """

        def value(found: re.Match[str]) -> str:
            if found[1] not in item.values:
                raise ValueError(
                    f"{item.where}: the prompt wants {{{found[1]}}}, but there is only {', '.join(item.values)}"
                )
            held = item.values[found[1]]
            if not isinstance(held, str | int | float):
                raise ValueError(f"{item.where}, {found[1]}: a text is expected, not {held!r:.60}")
            return str(held)

        return clean_text(FIELD.sub(value, self.text), item.where)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        about: what it is, in one line.
        split: which part of it these files are.
        records: where its questions are.
        prompts: how they are asked, by whose evaluation.
        metric: the score.
        update: the arguments of the metric's `update` after the predictions, each with the name of the value it takes.
        per_item: the score of a single question: `metric` (what its `single` says, if it is a `ScoresSingly`; else its
            score of this item alone, or the first of several), or none if it has no meaning for one.
        groups: names of values whose classes are scored apart.
        places: name of the value with the box, or the boxes, of the answer in the first picture, in pixels of it; the
            page marks them. None: they are not known.
        submission: what its server takes; None: it has none.
        size: number of questions of the whole split, as far as it is known; another number shows that files are missing
            or of another version.
    """

    about: str
    split: str
    records: Records
    prompts: Mapping[Prompts, Prompt]
    metric: Metric
    update: Mapping[str, str]
    per_item: Literal["metric", "none"] = "metric"
    groups: Sequence[str] = ()
    places: str | None = None
    submission: Submission | None = None
    size: int | None = None

    def places_of(self, item: Item) -> tuple[Box, ...]:
        """The boxes of the answer to a question; none if they are not known.

        Raises:
            ValueError: naming the item, if `places` names something else.
        """
        if self.places is None:
            return ()
        if self.places not in item.values:
            raise ValueError(f"{item.where}: places is {self.places!r:.60}, but there is only {', '.join(item.values)}")
        held = item.values[self.places]
        boxes = (held,) if isinstance(held, Box) else held
        if not isinstance(boxes, tuple) or not all(isinstance(each, Box) for each in boxes):
            raise ValueError(f"{item.where}, {self.places}: boxes of the answer are expected, not {shown(held)}")
        return boxes
