"""Samples by number: conversations from files, and pages made on the fly."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from PIL.Image import Image
from torch.utils.data import Dataset

from foveal.models import IGNORE_INDEX, BadImageError, Batch, Processor, Sample, read_image
from recipes.data.eval_batch import EvalBatch, EvalItem, collate_questions, questions_of
from recipes.data.pages import PageSettings, draw_page
from recipes.data.records import Record

logger = logging.getLogger(__name__)


class Filled(Dataset[Any]):
    """A data set in which `~index` is item `index` as a filler: it keeps a rank busy and counts for nothing.

    Args:
        dataset: of anything.
        filler: makes a filler of an item.
    """

    def __init__(self, dataset: Dataset[Any], filler: Callable[[Any], Any]) -> None:
        self.dataset, self.filler = dataset, filler

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index] if index >= 0 else self.filler(self.dataset[~index])


def untrained(sample: Sample | None) -> Sample | None:
    """The same sample with no supervised token."""
    return None if sample is None else replace(sample, labels=torch.full_like(sample.labels, IGNORE_INDEX))


def as_filler(item: EvalItem) -> EvalItem:
    """The same question, whose answer is not counted."""
    return replace(item, counted=False)


class RecordDataset(Dataset[Sample | None]):
    """Conversations from files, as samples to learn from.

    Args:
        records: of `read_records`.
        processor: makes samples.
        on_bad_sample: `raise`; or `skip`: log a sample whose picture is damaged or which does not fit, and leave it out
            of its batch. Nothing is put in its place.
    """

    def __init__(
        self, records: Sequence[Record], processor: Processor, *, on_bad_sample: Literal["raise", "skip"] = "raise"
    ) -> None:
        self.records, self.processor, self.on_bad_sample = records, processor, on_bad_sample

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample | None:
        record = self.records[index]
        try:
            return self.processor.encode(pictures_of(record), record.turns, key=record.key)
        except ValueError as error:
            if self.on_bad_sample == "raise":
                raise
            logger.warning("skipped: %s", error)
            return None


class RecordQuestions(Dataset[EvalItem]):
    """Every answered question of conversations from files."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.places = [
            (record, answer)
            for record in records
            for answer in range(sum(turn.role == "assistant" for turn in record.turns))
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> EvalItem:
        record, answer = self.places[index]
        return questions_of(record.key, pictures_of(record), record.turns)[answer]


class PageDataset(Dataset[Sample]):
    """Built-in pages as samples to learn from; they get harder with their number.

    Args:
        settings: of the pages.
        processor: makes samples.
        seed: of the stream.
        size: number of pages.
        easy_until: share of the pages that are the easiest.
        hard_from: share of the pages after which all are as `settings` say.
    """

    def __init__(
        self, settings: PageSettings, processor: Processor, *, seed: int, size: int, easy_until: float, hard_from: float
    ) -> None:
        self.settings, self.processor, self.seed, self.size = settings, processor, seed, size
        self.easy_until, self.hard_from = easy_until, hard_from

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        share = index / self.size
        progress = (share - self.easy_until) / max(self.hard_from - self.easy_until, 1e-9)
        page = draw_page(self.settings, self.seed, index, progress=min(max(progress, 0.0), 1.0))
        return self.processor.encode([page.image], page.turns, key=f"page {index}")


class PageQuestions(Dataset[EvalItem]):
    """Built-in pages at full difficulty, as questions."""

    def __init__(self, settings: PageSettings, *, seed: int, size: int) -> None:
        self.settings, self.seed, self.size = settings, seed, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> EvalItem:
        page = draw_page(self.settings, self.seed, index)
        return questions_of(f"page {index}", [page.image], page.turns)[0]


class SampleCollator:
    """Samples to batches, in loader workers; skipped samples are None and leave no gap."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, samples: Sequence[Sample | None]) -> Batch:
        kept = [sample for sample in samples if sample is not None]
        if not kept:
            raise ValueError(f"all {len(samples)} samples of a batch were skipped: look at the log, mend the data")
        return self.processor.collate(kept)


class QuestionCollator:
    """Questions to batches of prompts, in loader workers."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, items: Sequence[EvalItem]) -> EvalBatch:
        return collate_questions(items, self.processor)


def pictures_of(record: Record) -> list[Image]:
    """The record's pictures.

    Raises:
        BadImageError: naming the record and the file.
    """
    try:
        return [read_image(source) for source in record.images]
    except BadImageError as error:
        raise BadImageError(f"{record.key}: {error}") from error
