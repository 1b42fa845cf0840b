"""Answer many questions with a Foveal model: in batches of equal settings, each as if it was asked alone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL.Image import Image

from foveal.lmms_eval.conversation import Source, conversation
from foveal.lmms_eval.settings import Settings
from foveal.models import Sample, Video, VisionLanguageModel
from foveal.models.generation.cuda_graphs import graphs_obstacle
from foveal.models.generation.generate import generate_ids
from foveal.models.generation.seen import SeenPictures
from foveal.models.views.any_picture import rgb_of
from foveal.models.views.draft import Draft

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """One request.

    Attributes:
        where: its task and document, for messages.
        settings: how it is answered.
        messages: makes its chat messages; called when it is its turn, so that few pictures are open at a time.
    """

    where: str
    settings: Settings
    messages: Callable[[], Sequence[Mapping[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """A text, and what it took.

    Attributes:
        text: without special tokens, cut at `Settings.until`.
        input_tokens: of the prompt, visual tokens included.
        output_tokens: generated ones, also those that were cut, with the one that ends an answer.
    """

    text: str
    input_tokens: int
    output_tokens: int


NOTHING = Answer("", 0, 0)
"""What stands for a question that cannot be answered and is left out."""


class Answering:
    """Answers questions in batches; a picture that is asked again is not encoded again.

    Args:
        model: any model.
        batch_size: questions answered together.
        skip: whether a question that cannot be answered is logged and answered with nothing.
        cuda_graphs: decode with CUDA graphs where possible; beam searches go without.
    """

    def __init__(
        self, model: VisionLanguageModel, *, batch_size: int, skip: bool = False, cuda_graphs: bool = False
    ) -> None:
        self.model, self.batch_size, self.skip, self.cuda_graphs = model, batch_size, skip, cuda_graphs
        self._seen = SeenPictures(model)

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield every question's number with its answer, questions with equal settings together.

        A greedy answer does not depend on the batch. A question that cannot be answered changes nothing for the
        others: if a batch fails, its questions are answered one by one.

        Raises:
            ValueError: naming the question that cannot be answered, unless such questions are skipped.
        """
        groups: dict[Settings, list[int]] = {}
        for number, question in enumerate(questions):
            groups.setdefault(question.settings, []).append(number)
        for settings, numbers in groups.items():
            for start in range(0, len(numbers), self.batch_size):
                encoded: list[tuple[int, Sample]] = []
                for number in numbers[start : start + self.batch_size]:
                    try:
                        encoded.append((number, self._encode(questions[number])))
                    except ValueError as error:
                        yield number, self._unanswered(questions[number], error)
                yield from self._together(questions, encoded, settings)

    def _together(
        self, questions: Sequence[Question], encoded: Sequence[tuple[int, Sample]], settings: Settings
    ) -> Iterator[tuple[int, Answer]]:
        if not encoded:
            return
        samples = [sample for _, sample in encoded]
        try:
            answers = self._generate(samples, settings, questions[encoded[0][0]])
        except ValueError as error:
            if len(encoded) == 1:
                yield encoded[0][0], self._unanswered(questions[encoded[0][0]], error)
            else:
                for each in encoded:
                    yield from self._together(questions, [each], settings)
            return
        yield from zip((number for number, _ in encoded), answers, strict=True)

    def _encode(self, question: Question) -> Sample:
        sources, turns = conversation(question.messages())
        return self.model.processor.encode_prompt([self._read(source) for source in sources], turns)

    def _read(self, source: Source) -> Image | Draft | Video:
        if isinstance(source, Image):
            return rgb_of(source)
        return source if isinstance(source, Video) else self.model.processor.read(source)

    def _generate(self, samples: Sequence[Sample], settings: Settings, first: Question) -> list[Answer]:
        longest, new_tokens = max(len(sample.input_ids) for sample in samples), settings.max_new_tokens
        if len(samples) == 1 and 0 < (room := self._context - longest) < new_tokens:
            # No answer is longer than the context. In a batch, the room of one would depend on the others: `generate`
            # refuses it, and its questions are answered one by one.
            logger.warning(
                "%s: the answer may have %d tokens, and the language model's context leaves %d: it ends there",
                first.where,
                new_tokens,
                room,
            )
            new_tokens = room
        ids = generate_ids(
            self.model,
            self.model.processor.collate(samples, side="left"),
            max_new_tokens=new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            num_beams=settings.num_beams,
            cuda_graphs=self._uses_graphs and settings.num_beams == 1,
            seen=self._seen,
        )
        rows = zip(samples, ids.tolist(), strict=True)
        return [self._answer(len(sample.input_ids), row, settings) for sample, row in rows]

    def _answer(self, input_tokens: int, ids: Sequence[int], settings: Settings) -> Answer:
        processor, stops = self.model.processor, self.model.processor.stop_ids
        end = next((place for place, token in enumerate(ids, start=1) if token in stops), len(ids))
        return Answer(settings.cut(processor.decode(ids)), input_tokens, end)

    @property
    def _context(self) -> int:
        context: int = self.model.language_model.config.get_text_config().max_position_embeddings
        return context

    @cached_property
    def _uses_graphs(self) -> bool:
        reason = graphs_obstacle(self.model.language_model, self.model.device) if self.cuda_graphs else None
        if reason is not None:
            logger.warning("decoding without CUDA graphs: %s", reason)
        return self.cuda_graphs and reason is None

    def _unanswered(self, question: Question, error: ValueError) -> Answer:
        if not self.skip:
            raise ValueError(f"{question.where}: {error}") from error
        logger.warning("left out %s: %s", question.where, error)
        return NOTHING
