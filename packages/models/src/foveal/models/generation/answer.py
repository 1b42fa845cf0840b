"""Answer questions about pictures, one at a time, in batches, or word by word."""

from collections.abc import Callable, Iterator, Sequence
from queue import Queue
from threading import Event, Thread
from typing import Any

from foveal.models.generation.generate import generate
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.batch import Sample
from foveal.models.prompts.templates import Turn, with_pictures
from foveal.models.views.any_picture import Picture, rgb_of
from foveal.models.views.video import Video

Given = Picture | Video


def answer(
    model: VisionLanguageModel,
    pictures: Given | Sequence[Given],
    question: str,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    cuda_graphs: bool = False,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """The answer to one question about pictures.

    Args:
        model: any model.
        pictures: one picture or several, in any form that `rgb_of` takes; or videos, if the model reads them.
        question: `<image>` is added in front for each picture if it has none.
        max_new_tokens: longest answer in tokens.
        temperature: as for `generate`, like the rest.
        cuda_graphs: see there.
        on_text: see there.

    Raises:
        ValueError: if the question has `<image>`, but not once for each picture, or as for `rgb_of` and `generate`.
        TypeError: as for `rgb_of`.
    """
    (text,) = generate(
        model,
        model.processor.collate([_prompt(model, pictures, question)], side="left"),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        cuda_graphs=cuda_graphs,
        on_text=on_text,
    )
    return text


def answer_batch(
    model: VisionLanguageModel,
    questions: Sequence[tuple[Given | Sequence[Given], str]],
    *,
    batch_size: int = 8,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
) -> list[str]:
    """The answers to several questions, each about its own pictures.

    Greedy answers are those that `answer` gives to each question alone.

    Args:
        model: any model.
        questions: pictures and question of each, as for `answer`.
        batch_size: questions answered together.
        max_new_tokens: longest answer in tokens.
        temperature: as for `generate`.

    Raises:
        ValueError: as for `answer`, or if `batch_size` is below 1.
        TypeError: as for `answer`.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least one question is answered at a time")
    answers: list[str] = []
    for start in range(0, len(questions), batch_size):
        prompts = [_prompt(model, pictures, text) for pictures, text in questions[start : start + batch_size]]
        batch = model.processor.collate(prompts, side="left")
        answers += generate(model, batch, max_new_tokens=max_new_tokens, temperature=temperature)
    return answers


def stream(
    model: VisionLanguageModel,
    pictures: Given | Sequence[Given],
    question: str,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    cuda_graphs: bool = False,
) -> Iterator[str]:
    """The answer to one question, piece by piece; the pieces together are what `answer` returns, and perhaps a space.

    The model runs in a thread; it stops at its next word if the iterator is closed. Arguments are those of `answer`.

    Raises:
        ValueError: as for `answer`, when the first piece is asked for.
        TypeError: as for `answer`.
    """
    pieces: Queue[str | BaseException | None] = Queue()
    closed = Event()

    def put(text: str) -> None:
        if closed.is_set():
            raise _ClosedError
        pieces.put(text)

    def run() -> None:
        try:
            answer(
                model,
                pictures,
                question,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                cuda_graphs=cuda_graphs,
                on_text=put,
            )
        except BaseException as error:  # it is raised where the pieces are read
            pieces.put(error)
        else:
            pieces.put(None)

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        closed.set()
        thread.join()


class _ClosedError(Exception):
    """Nobody reads the answer any more."""


def _prompt(model: VisionLanguageModel, pictures: Given | Sequence[Given], question: str) -> Sample:
    given: Any = pictures if isinstance(pictures, list | tuple) else [pictures]
    read = [picture if isinstance(picture, Video) else rgb_of(picture) for picture in given]
    return model.processor.encode_prompt(read, [Turn("user", with_pictures(question, len(read)))])
