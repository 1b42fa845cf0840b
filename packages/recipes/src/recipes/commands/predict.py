"""Ask a saved model questions; builds only the model, nothing for training."""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from foveal.models import VisionLanguageModel, answer, image_size, read_image
from recipes.answering.model import opened, takes_graphs
from recipes.command_line.console import calm, short_errors


@dataclass(frozen=True)
class Question:
    """One question about pictures; `key` is its id or line number."""

    key: str
    text: str
    images: tuple[Path, ...]


def main(options: argparse.Namespace) -> None:
    """Answer the questions.

    Args:
        options: as `predict_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input.
    """
    calm()
    with short_errors():
        if options.question is not None:
            questions = [Question("", options.question, tuple(options.image))]
        else:
            questions = list(read_questions(options.data, options.images or options.data.parent))
        first = questions[0]
        model = opened(options, [image_size(path) for path in first.images], first.text)
        options.cuda_graphs = takes_graphs(model, options)
        if options.question is not None:
            _print_answer(model, questions[0], options)
        elif options.output is None:
            _write_answers(model, questions, options, None)
        else:
            with options.output.open("w", encoding="utf-8") as stream:
                _write_answers(model, questions, options, stream)


def read_questions(path: Path, images: Path) -> Iterator[Question]:
    """The questions of a JSONL file, in order; the whole file is checked before the first question is returned.

    Args:
        path: file with one object per line, with `question` and optionally `id` and `image` (a name or list of names).
        images: folder of the pictures.

    Raises:
        ValueError: for a line that is not such an object or names a missing picture; the message has file and line.
        OSError: if the file cannot be read.
    """
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            questions.append(_question(line, f"{path}, line {number}", images, number))
    if not questions:
        raise ValueError(f"{path} has no questions")
    return iter(questions)


def _question(line: str, where: str, images: Path, number: int) -> Question:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict) or not isinstance(record.get("question"), str):
        raise ValueError(f'{where}: expected an object with a text "question"')
    named = record.get("image", [])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{where}: "image" is a name or a list of names, not {named!r}')
    paths = tuple(images / name for name in names)
    root = images.resolve()
    for path in paths:
        if not path.resolve().is_relative_to(root):
            raise ValueError(f"{where}: the picture {path} is outside {images}")
        if not path.is_file():
            raise ValueError(f"{where}: there is no picture {path}")
    return Question(str(record.get("id", number)), record["question"], paths)


def _print_answer(model: VisionLanguageModel, question: Question, options: argparse.Namespace) -> None:
    """Print the answer as it is generated."""
    _answer(model, question, options, on_text=lambda text: print(text, end="", flush=True))
    print()


def _write_answers(
    model: VisionLanguageModel, questions: Iterable[Question], options: argparse.Namespace, stream: TextIO | None
) -> None:
    """Write one line of JSON per answer, immediately, so that a later error loses none."""
    for question in questions:
        text = _answer(model, question, options)
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
        [read_image(path) for path in question.images],
        question.text,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        cuda_graphs=options.cuda_graphs,
        on_text=on_text,
    )
