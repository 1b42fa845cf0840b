"""Data sets of conversations from files, and of pages made on the fly."""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch.utils.data import Dataset

from foveal.core import Size
from foveal.models import IGNORE_INDEX, BadImageError, Batch, Processor, Sample, Turn
from recipes.data.bad_samples import BadSamples
from recipes.data.eval_batch import EvalBatch, EvalItem, collate_questions, questions_of
from recipes.data.pages import Drawn
from recipes.data.records import Record, Records
from recipes.reading.pictures import Source, read_for, read_picture

_BLANK = Pillow.new("RGB", (1, 1), "white")
_NOTHING = Turn("user", "<image>")
_BLANK_QUESTION = EvalItem("blank", (_BLANK,), (_NOTHING,), ("",), counted=False)


class Filled(Dataset[Any]):
    """A data set in which `~index` is item `index` as a filler, which keeps a rank busy and does not count.

    Args:
        dataset: a data set of any items.
        filler: turns an item into a filler.
    """

    def __init__(self, dataset: Dataset[Any], filler: Callable[[Any], Any]) -> None:
        self.dataset, self.filler = dataset, filler

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index] if index >= 0 else self.filler(self.dataset[~index])


@dataclass(frozen=True)
class LeftOut:
    """Stands in for a sample or a question that cannot be used.

    Attributes:
        message: the reason; empty: it was already logged, or another rank logs it.
    """

    message: str = ""


def untrained(sample: Sample | LeftOut) -> Sample | LeftOut:
    """The same sample with no supervised token."""
    if isinstance(sample, LeftOut):
        return LeftOut()
    return replace(sample, labels=torch.full_like(sample.labels, IGNORE_INDEX))


def blank_sample(processor: Processor) -> Sample:
    """A blank picture with no supervised token."""
    return processor.encode_prompt([_BLANK], [_NOTHING], key="blank")


def as_filler(item: EvalItem | LeftOut) -> EvalItem | LeftOut:
    """The same question, with an answer that is not counted."""
    return LeftOut() if isinstance(item, LeftOut) else replace(item, counted=False)


class RecordDataset(Dataset[Sample | LeftOut]):
    """Conversations from files, as samples to learn from.

    Args:
        records: the conversations.
        processor: makes samples.
        policy: for samples that cannot be used, such as those with a damaged picture or with too many tokens.
        known: numbers of samples that are known to be unusable, and were reported.
    """

    def __init__(
        self,
        records: Records,
        processor: Processor,
        *,
        policy: BadSamples = BadSamples(),
        known: Collection[int] = (),
    ) -> None:
        self.records, self.processor, self.policy = records, processor, policy
        self.known = frozenset(known) | records.faults.keys()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample | LeftOut:
        if index in self.known:
            return LeftOut()
        try:
            record = self.records[index]
            pictures = pictures_of(record, partial(read_for, self.processor))
            return self.processor.encode(pictures, record.turns, key=record.key)
        except ValueError as error:
            if not self.policy.skips:
                raise
            return LeftOut(_located(self.records, index, error))


class RecordQuestions(Dataset[EvalItem | LeftOut]):
    """Every answered question of conversations from files.

    Args:
        records: the conversations; those that cannot be used have no questions.
        limit: number of questions, from the first; None: all.
        policy: for questions whose pictures cannot be used.

    Attributes:
        known: numbers of questions that are known to be unusable, and were reported.
    """

    def __init__(self, records: Records, *, limit: int | None = None, policy: BadSamples = BadSamples()) -> None:
        self.records, self.policy = records, policy
        self.known: Collection[int] = ()
        self._ends = np.cumsum(records.answers, dtype=np.int64)
        self._number = min(int(self._ends[-1]), sys.maxsize if limit is None else limit)

    def __len__(self) -> int:
        return self._number

    def place(self, index: int) -> tuple[int, int]:
        """The number of the record, and of the answer in it."""
        record = int(np.searchsorted(self._ends, index, side="right"))
        return record, index - int(self._ends[record] - self.records.answers[record])

    def __getitem__(self, index: int) -> EvalItem | LeftOut:
        if index in self.known:
            return LeftOut()
        number, answer = self.place(index)
        try:
            record = self.records[number]
            return questions_of(record.key, pictures_of(record), record.turns)[answer]
        except ValueError as error:
            if not self.policy.skips:
                raise
            return LeftOut(_located(self.records, number, error))


class PageDataset(Dataset[Sample]):
    """Built-in pages as samples to learn from; the higher the index, the harder the page.

    Args:
        settings: how pages look.
        processor: makes samples.
        seed: of the stream.
        size: number of pages.
        easy_until: share of the pages, from the first, that are the easiest.
        hard_from: share of the pages after which all are at full difficulty, as in `settings`.
    """

    def __init__(
        self, settings: Drawn, processor: Processor, *, seed: int, size: int, easy_until: float, hard_from: float
    ) -> None:
        self.settings, self.processor, self.seed, self.size = settings, processor, seed, size
        self.easy_until, self.hard_from = easy_until, hard_from

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        share = index / self.size
        progress = (share - self.easy_until) / max(self.hard_from - self.easy_until, 1e-9)
        page = self.settings.draw(self.seed, index, progress=min(max(progress, 0.0), 1.0))
        return self.processor.encode([page.image], page.turns, key=f"page {index}")


class PageQuestions(Dataset[EvalItem]):
    """Built-in pages at full difficulty, as questions."""

    def __init__(self, settings: Drawn, *, seed: int, size: int) -> None:
        self.settings, self.seed, self.size = settings, seed, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> EvalItem:
        page = self.settings.draw(self.seed, index)
        return questions_of(f"page {index}", [page.image], page.turns)[0]


class SampleCollator:
    """Collates samples into batches, in loader workers; samples that are left out leave no gap.

    If nothing is left, the batch is a blank picture without supervised tokens: other ranks wait for a batch.
    """

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, samples: Sequence[Sample | LeftOut]) -> Batch:
        kept = [sample for sample in samples if isinstance(sample, Sample)]
        told = tuple(sample.message for sample in samples if isinstance(sample, LeftOut) and sample.message)
        if not kept:
            kept = [blank_sample(self.processor)]
        return replace(self.processor.collate(kept), left_out=told)


class QuestionCollator:
    """Collates questions into batches of prompts; if nothing is left, into a blank question that is not counted.

    Args:
        processor: makes prompts.
        policy: for questions with too many tokens.
    """

    def __init__(self, processor: Processor, policy: BadSamples = BadSamples()) -> None:
        self.processor, self.policy = processor, policy

    def __call__(self, items: Sequence[EvalItem | LeftOut]) -> EvalBatch:
        checked = [self._checked(item) for item in items]
        told = tuple(item.message for item in checked if isinstance(item, LeftOut) and item.message)
        kept = [item for item in checked if isinstance(item, EvalItem)]
        kept.sort(key=lambda item: not item.counted)
        return replace(collate_questions(kept or [_BLANK_QUESTION], self.processor), left_out=told)

    def _checked(self, item: EvalItem | LeftOut) -> EvalItem | LeftOut:
        if isinstance(item, LeftOut) or not self.policy.skips:
            return item
        try:
            sizes = [Size.of(picture.size) for picture in item.pictures]
            self.processor.length(sizes, item.turns, open_ended=True, key=item.key)
        except ValueError as error:
            return LeftOut(str(error) if item.counted else "")
        return item


def _located(records: Records, number: int, error: ValueError) -> str:
    """The error with the record's location, since two records may have one id."""
    where, (key, _) = records.location(number), records.text(number)
    return f"{where}: {str(error).removeprefix(f'{key}: ')}"


def pictures_of(record: Record, read: Callable[[Source], Any] = read_picture) -> list[Any]:
    """Read the record's pictures with `read`.

    Raises:
        BadImageError: naming the record and the file.
    """
    try:
        return [read(source) for source in record.images]
    except BadImageError as error:
        raise BadImageError(f"{record.key}: {error}") from error
