"""Ask a saved model questions; builds only the model, nothing for training."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from foveal.models import BadImageError, VisionLanguageModel, answer
from recipes.answering.model import opened, takes_graphs
from recipes.command_line.console import calm, short_errors
from recipes.reading.clean_text import clean_text
from recipes.reading.json_file import read_values
from recipes.reading.keys import refuse_meant_keys
from recipes.reading.pictures import PictureFolder, Source, named_pictures, picture_at, picture_size, read_for

KEYS = ("id", "image", "images", "question")


@dataclass(frozen=True)
class Question:
    """One question about pictures.

    Attributes:
        key: its id or line number.
        text: the question.
        images: the pictures.
        where: its file and line, for messages; empty for a question from the command line.
    """

    key: str
    text: str
    images: tuple[Source, ...]
    where: str = ""


class Unusable:
    """What happens to questions that cannot be answered.

    Args:
        skips: whether they are left out and named on standard error; otherwise the first one is an error.

    Attributes:
        number: how many were left out.
    """

    def __init__(self, skips: bool = False) -> None:
        self.skips, self.number = skips, 0

    def add(self, error: ValueError) -> None:
        """Count a question, or raise the error."""
        if not self.skips:
            raise error
        self.number += 1
        sys.stderr.write(f"left out: {error}\n")


def main(options: argparse.Namespace) -> None:
    """Answer the questions.

    Args:
        options: as `predict_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input.
    """
    calm()
    with short_errors():
        unusable = Unusable(options.on_bad_sample == "skip")
        if options.question is not None:
            questions = [Question("", options.question, tuple(map(picture_at, options.image)))]
        else:
            questions = list(read_questions(options.data, options.images or options.data.parent, unusable))
        number = len(questions) + unusable.number
        if options.output is not None and questions and not (questions := unanswered(questions, options.output)):
            sys.stderr.write(f"{options.output} has all answers already\n")
        if questions:
            _answer_all(questions, options, unusable)
        if unusable.number:
            sys.stderr.write(f"left out {unusable.number} of {number} questions of {options.data}\n")
            raise SystemExit(1)


def _answer_all(questions: Sequence[Question], options: argparse.Namespace, unusable: Unusable) -> None:
    first = questions[0]
    model = opened(options, [picture_size(source) for source in first.images], first.text)
    options.cuda_graphs = takes_graphs(model, options)
    if options.question is not None:
        _print_answer(model, first, options)
    elif options.output is None:
        _write_answers(model, questions, options, None, unusable)
    else:
        with options.output.open("a", encoding="utf-8") as stream:
            _write_answers(model, questions, options, stream, unusable)


def read_questions(path: Path, images: Path, unusable: Unusable | None = None) -> Iterator[Question]:
    """The questions of a JSONL file or a JSON list, in order; all are checked before the first is returned.

    Args:
        path: file of objects with `question`, and optionally `id` and `image` or `images` (a name or a list of names;
            null and `""` mean no picture).
        images: folder of the pictures.
        unusable: leaves out records that are no such objects or name pictures that cannot be used; None: errors.

    Raises:
        ValueError: if the file is not JSON or empty; unless they are left out, for a record that is not such an object,
            whose text cannot be read, or that names a picture that is missing or whose header shows that it cannot be
            used; the message has file and line.
        OSError: if the file cannot be read.
    """
    folder, unusable = PictureFolder(images), unusable or Unusable()
    questions, empty = [], True
    for number, where, record in read_values(path):
        empty = False
        try:
            questions.append(_question(record, where, folder, number))
        except ValueError as error:
            unusable.add(error)
    if empty:
        raise ValueError(f"{path} has no questions")
    return iter(questions)


def unanswered(questions: Sequence[Question], output: Path) -> list[Question]:
    """The questions that `output` does not answer yet; a line that a killed process has left incomplete is removed.

    Raises:
        ValueError: if the file holds anything else than answers to some of the questions.
        OSError: if it cannot be read or written.
    """
    if not output.exists():
        return list(questions)
    asked, answered = {(each.key, each.text) for each in questions}, set()
    *lines, cut = output.read_bytes().split(b"\n")
    for line in lines:
        try:
            record = json.loads(line)
            found = str(record["id"]), str(record["question"])
        except (ValueError, TypeError, LookupError):
            found = None
        if found not in asked:
            raise ValueError(f"{output} holds something else than answers to these questions: give another --output")
        answered.add(found)
    if cut:
        with output.open("rb+") as stream:
            stream.truncate(output.stat().st_size - len(cut))
    return [each for each in questions if (each.key, each.text) not in answered]


def _question(record: Any, where: str, folder: PictureFolder, number: int) -> Question:
    if not isinstance(record, dict) or not isinstance(record.get("question"), str):
        raise ValueError(f'{where}: expected an object with a text "question"')
    refuse_meant_keys(record, KEYS, where)
    names = named_pictures(record, where)
    sources = tuple(folder.find(name, f"{where}, image") for name in names)
    for source in sources:
        try:
            picture_size(source)
        except BadImageError as error:
            raise BadImageError(f"{where}, image: {error}") from error
    key = clean_text(str(number if record.get("id") is None else record["id"]), f"{where}, id")
    return Question(key, clean_text(record["question"], f"{where}, question"), sources, where)


def _print_answer(model: VisionLanguageModel, question: Question, options: argparse.Namespace) -> None:
    """Print the answer as it is generated."""
    _answer(model, question, options, on_text=lambda text: print(text, end="", flush=True))
    print()


def _write_answers(
    model: VisionLanguageModel,
    questions: Iterable[Question],
    options: argparse.Namespace,
    stream: TextIO | None,
    unusable: Unusable,
) -> None:
    """Write one line of JSON per answer, immediately, so that a later error loses none."""
    for question in questions:
        try:
            text = _answer(model, question, options)
        except ValueError as error:
            unusable.add(ValueError(f"{question.where}: {error}"))
            continue
        record = {"id": question.key, "question": question.text, "answer": text}
        print(json.dumps(record, ensure_ascii=False), file=stream, flush=True)


def _answer(
    model: VisionLanguageModel,
    question: Question,
    options: argparse.Namespace,
    on_text: Callable[[str], None] | None = None,
) -> str:
    return answer(
        model,
        [read_for(model.processor, source) for source in question.images],
        question.text,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        cuda_graphs=options.cuda_graphs,
        on_text=on_text,
    )
