"""Answers to many questions: in batches, and in a file that a second start completes."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from foveal.models import Sample
from recipes.answering.growing_file import lines_of, remove_cut
from recipes.answering.questions import Question, Unusable


class Located(Protocol):
    """Anything that says where it was read.

    Attributes:
        where: file and record.
    """

    @property
    def where(self) -> str: ...


Q = TypeVar("Q", bound=Located)


def in_batches(
    questions: Iterable[Q],
    encode: Callable[[Q], Sample],
    generate: Callable[[Sequence[Sample]], Sequence[str]],
    unusable: Unusable,
    *,
    batch_size: int,
) -> Iterator[tuple[Q, str]]:
    """Yield every question with its answer, in order, as soon as its batch is answered.

    A question that cannot be answered changes nothing for the others: those before it are answered first, and if a
    batch cannot be answered, its questions are answered one by one.

    Args:
        questions: in order.
        encode: reads a question's pictures, and makes a prompt.
        generate: answers prompts together.
        unusable: what happens to questions for which either raises ValueError.
        batch_size: questions answered together.

    Raises:
        ValueError: naming the question, unless such questions are left out.
    """
    waiting: list[tuple[Q, Sample]] = []
    for question in questions:
        try:
            waiting.append((question, encode(question)))
        except ValueError as error:
            yield from _together(waiting, generate, unusable)
            waiting = []
            unusable.add(_located(error, question))
        if len(waiting) == batch_size:
            yield from _together(waiting, generate, unusable)
            waiting = []
    yield from _together(waiting, generate, unusable)


def _together(
    waiting: Sequence[tuple[Q, Sample]],
    generate: Callable[[Sequence[Sample]], Sequence[str]],
    unusable: Unusable,
) -> Iterator[tuple[Q, str]]:
    if not waiting:
        return
    try:
        texts = generate([sample for _, sample in waiting])
    except ValueError as error:
        if len(waiting) == 1:
            unusable.add(_located(error, waiting[0][0]))
        else:
            for prompt in waiting:
                yield from _together([prompt], generate, unusable)
        return
    yield from zip((question for question, _ in waiting), texts, strict=True)


def _located(error: ValueError, asked: Located) -> ValueError:
    """The error with the place of its question, which those about pictures have already."""
    return error if str(error).startswith(asked.where) else ValueError(f"{asked.where}: {error}")


def line_of(question: Question, answer: str) -> str:
    """The line of JSON that records an answer."""
    return json.dumps({"id": question.key, "question": question.text, "answer": answer}, ensure_ascii=False)


def unanswered(questions: Sequence[Question], output: Path) -> list[Question]:
    """The questions that `output` does not answer yet; an incomplete last line, left by a killed process, is removed.

    Raises:
        ValueError: if the file holds anything else than answers to some of the questions.
        OSError: if it cannot be read or written.
    """
    if not output.exists():
        return list(questions)
    asked, answered = Counter((each.key, each.text) for each in questions), Counter[tuple[str, str]]()
    lines, cut = lines_of(output)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            found = str(record["id"]), str(record["question"])
            is_answer = isinstance(record["answer"], str)
        except (ValueError, TypeError, LookupError, RecursionError):
            is_answer = False
        if not is_answer or answered[found] == asked[found]:
            raise ValueError(
                f"{output}, line {number} is something else than an answer to one of these questions: give another "
                "--output"
            )
        answered[found] += 1
    remove_cut(output, cut)
    left = []
    for question in questions:
        if answered[found := (question.key, question.text)]:
            answered[found] -= 1
        else:
            left.append(question)
    return left
