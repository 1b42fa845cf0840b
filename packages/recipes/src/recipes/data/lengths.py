"""Measure all samples before the first step: their tokens, and which of them do not fit."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from foveal.core import Size
from foveal.core.describe import describe
from foveal.core.folders import whole_file
from foveal.models import Processor, Turn
from foveal.models.prompts.templates import PLACEHOLDER
from recipes.data.dataset import RecordQuestions
from recipes.data.eval_batch import questions_of
from recipes.data.index.open_records import alone
from recipes.data.index.stored import IndexedRecords
from recipes.data.mixture import MixedRecords
from recipes.data.parallel import in_chunks
from recipes.data.records import Array, Records

COLUMNS = ("tokens", "visual", "supervised")
TALK = (
    *(Turn("system", "Be brief."), Turn("user", "  Été  12?\nWhy"), Turn("assistant", " 3.50 ")),
    *(Turn("user", "And?"), Turn("assistant", "No")),
)
SIZES = (Size(40, 24), Size(640, 480), Size(480, 2000), Size(3000, 500))


@dataclass(frozen=True)
class Measured:
    """The numbers of all samples, for one processor.

    Attributes:
        numbers: [samples, 3], tokens of each sample, those of pictures among them, and those that are supervised; 0 if
            the sample cannot be used.
        faults: why samples cannot be used that the processor refuses, by number.
    """

    numbers: Array
    faults: Mapping[int, str]

    @property
    def tokens(self) -> Array:
        """[samples], tokens of each sample."""
        column: Array = self.numbers[:, 0]
        return column


def measure(records: Records, processor: Processor) -> Measured:
    """Measure all samples; the numbers of a file's samples are kept beside its index.

    Args:
        records: the conversations.
        processor: makes samples of them.
    """
    if isinstance(records, MixedRecords):
        parts = [measure(part, processor) for part in records.parts]
        numbers = records.joined([part.numbers for part in parts])
        return Measured(numbers, records.numbered([part.faults for part in parts]))
    known = fingerprint_of(processor)
    if known is None or not isinstance(records, IndexedRecords):
        return _measured(records, processor)
    table, faults = (records.folder / f"lengths-{known}{suffix}" for suffix in (".npy", ".json"))
    with alone(records.folder):
        if not table.exists():
            made = _measured(records, processor)
            with whole_file(faults) as file:
                file.write_text(json.dumps(made.faults), encoding="utf-8")
            with whole_file(table) as file, file.open("wb") as stream:
                np.save(stream, made.numbers)
        stored = json.loads(faults.read_text(encoding="utf-8"))
        return Measured(np.load(table, mmap_mode="r"), {int(number): fault for number, fault in stored.items()})


def measure_questions(questions: RecordQuestions, processor: Processor) -> dict[int, str]:
    """Why questions cannot be asked that the processor refuses, by number.

    Args:
        questions: of the conversations.
        processor: makes prompts of them.
    """
    faults: dict[int, str] = {}
    for found in in_chunks(_Questions(questions, processor), len(questions), "measuring questions"):
        faults |= found
    return faults


def fingerprint_of(processor: Processor) -> str | None:
    """A hash of everything that determines the lengths of samples; None if a part cannot be described."""
    count: Any = processor.count
    tokenizer = processor.tokenizer
    try:
        parts = [describe(part) for part in (count.encoder, count.connector, count.merge, processor.plan) if part]
    except (AttributeError, ValueError):
        return None  # not one of our parts, or it does not keep its arguments
    settings = (processor.template, processor.system, processor.max_length, processor.overlong)
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    words = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
    special = sorted(tokenizer.special_tokens_map.items(), key=str)
    named = (type(tokenizer).__name__, special, words, tokenizer.chat_template)
    described = repr((parts, settings, named, _tried(processor)))
    return hashlib.sha256(described.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def _tried(processor: Processor) -> list[Any]:
    """The ids of a conversation and the lengths of some pictures: other versions of the code may make others."""
    found: list[Any] = []
    for turns in (TALK[1:3], TALK):
        try:
            found.append(processor.encode([], turns).input_ids.tolist())
        except ValueError as error:
            found.append(str(error))
    for size in SIZES:
        try:
            found.append(len(processor.picture_ids(size)))
        except ValueError as error:
            found.append(str(error))
    return found


def _measured(records: Records, processor: Processor) -> Measured:
    numbers = []
    faults: dict[int, str] = {}
    for of_chunk, found in in_chunks(_Lengths(records, processor), len(records), "measuring samples"):
        numbers.append(of_chunk)
        faults |= found
    return Measured(np.concatenate(numbers), faults)


class _Lengths:
    """Measures the samples of a chunk."""

    def __init__(self, records: Records, processor: Processor) -> None:
        self.records, self.processor = records, processor

    def __call__(self, chunk: range) -> tuple[Array, dict[int, str]]:
        numbers = np.zeros((len(chunk), len(COLUMNS)), dtype=np.int32)
        faults: dict[int, str] = {}
        for row, number in enumerate(chunk):
            if number in self.records.faults:
                continue
            _, turns = self.records.text(number)
            try:
                numbers[row] = self.processor.measure(self.records.sizes(number), turns)
            except ValueError as error:
                faults[number] = f"{self.records.location(number)}: {error}"
        return numbers, faults


class _Questions:
    """Measures the questions of a chunk."""

    def __init__(self, questions: RecordQuestions, processor: Processor) -> None:
        self.questions, self.processor = questions, processor

    def __call__(self, chunk: range) -> dict[int, str]:
        faults: dict[int, str] = {}
        for number in chunk:
            record, answer = self.questions.place(number)
            turns, where = self.questions.records.text(record)[1], self.questions.records.location(record)
            item = questions_of(where, (), turns)[answer]
            sizes = self.questions.records.sizes(record)[: sum(turn.text.count(PLACEHOLDER) for turn in item.turns)]
            try:
                self.processor.length(sizes, item.turns, open_ended=True, key=item.key)
            except ValueError as error:
                faults[number] = str(error)
        return faults
