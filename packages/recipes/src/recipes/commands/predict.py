"""Ask a saved model questions; builds only the model, nothing for training."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TextIO

from foveal.models import Sample, VisionLanguageModel, answer, generate
from recipes.answering.answers import in_batches, line_of, unanswered
from recipes.answering.interrupt import interruptible
from recipes.answering.model import opened, takes_graphs
from recipes.answering.questions import Question, QuestionFile, Unusable
from recipes.command_line.console import calm, interrupts_end, short_errors
from recipes.progress.counted import CountedLine
from recipes.reading.pictures import picture_at, picture_size, read_for


def main(options: argparse.Namespace) -> None:
    """Answer the questions.

    Args:
        options: as `predict_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input, with 130 on an interrupt.
    """
    calm()
    with interrupts_end(), short_errors():
        if options.data is None:
            _answer_one(options)
        else:
            _answer_file(options)


def _answer_one(options: argparse.Namespace) -> None:
    """Print the answer as it is generated."""
    sources = [picture_at(path) for path in options.image]
    model = opened(options, [picture_size(source) for source in sources], options.question)
    answer(
        model,
        [read_for(model.processor, source) for source in sources],
        options.question,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
        cuda_graphs=takes_graphs(model, options),
        on_text=lambda text: print(text, end="", flush=True),
    )
    print()


def _answer_file(options: argparse.Namespace) -> None:
    unusable = Unusable(options.on_bad_sample == "skip")
    file = QuestionFile(options.data, options.images, unusable)
    questions = file.read()
    number = len(questions) + unusable.number
    left = questions if options.output is None else unanswered(questions, options.output)
    if left:
        sizes = [picture_size(source) for source in file.sources(left[0])]
        model = opened(options, sizes, left[0].text, batch_size=min(options.batch_size, len(left)))
        with ExitStack() as stack:
            stream = stack.enter_context(options.output.open("a", encoding="utf-8")) if options.output else sys.stdout
            written = _Written(stream, done=len(questions) - len(left), total=len(questions))
            stack.callback(written.line.close)
            _answer_all(model, file, left, options, written)
    elif questions:
        sys.stderr.write(f"{options.output} has all answers already\n")
    if unusable.number:
        sys.stderr.write(f"left out {unusable.number} of {number} questions of {options.data}\n")
        raise SystemExit(1)


def _answer_all(
    model: VisionLanguageModel,
    file: QuestionFile,
    questions: Sequence[Question],
    options: argparse.Namespace,
    written: "_Written",
) -> None:
    settings = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature}
    graphs = takes_graphs(model, options)

    def encode(question: Question) -> Sample:
        pictures = [read_for(model.processor, source) for source in file.sources(question)]
        return model.processor.encode_prompt(pictures, question.turns)

    def answers(prompts: Sequence[Sample]) -> Sequence[str]:
        check()
        return generate(model, model.processor.collate(prompts, side="left"), cuda_graphs=graphs, **settings)

    try:
        with interruptible() as check:
            for question, text in in_batches(questions, encode, answers, file.unusable, batch_size=options.batch_size):
                written.add(question, text)
            check()
    except KeyboardInterrupt:
        written.line.close()
        rest = "; the same command answers the others" if options.output else ""
        sys.stderr.write(f"stopped: {written.line.done} of {written.line.total} questions are answered{rest}\n")
        raise


class _Written:
    """Writes every answer at once, so that whatever ends the command loses none, and shows how many there are.

    Args:
        stream: where answers are written, one line of JSON each.
        done: answers that are there already.
        total: number of questions.
    """

    def __init__(self, stream: TextIO, *, done: int, total: int) -> None:
        self.stream = stream
        # On a terminal, the line would run into the answers.
        self.line = CountedLine("answered", total, done=done, shows=not stream.isatty())

    def add(self, question: Question, answer: str) -> None:
        print(line_of(question, answer), file=self.stream, flush=True)
        self.line.add()
