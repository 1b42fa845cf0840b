"""What made a model write the words of an answer: each found on its own, after one pass over question and answer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from foveal.connectors.relevance import patches_of_tokens, relevance_by_gradient
from foveal.core import Grid
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.templates import Turn, with_pictures
from foveal.models.relevance.recorded_answer import Gradients, RecordedAnswer, at_rest, recorded_answer
from foveal.models.relevance.sets import SetOfViews, maps_of, sets_of
from foveal.models.relevance.token_relevance import rows_by_layer, token_relevance
from foveal.models.relevance.words import Each, words_of
from foveal.models.views.draft import Draft
from foveal.models.views.video import Video

Map = np.ndarray[Any, np.dtype[np.float32]]
"""[rows, columns], float32, over the whole of a picture, not below 0; its sum is the relevance on the picture."""


@dataclass(frozen=True)
class QueryToPatch:
    """Which patches the tokens of a set of views look at, whatever the question.

    Attributes:
        picture: number of the picture.
        number: number of the set of views in the picture, in the order of the prompt.
        grids: rows and columns of the encoder's maps.
        tables: [tokens, cells] for each map; the rows of all maps together sum to 1, or to 0 for a token of no patch.
    """

    picture: int
    number: int
    grids: tuple[Grid, ...]
    tables: tuple[Tensor, ...]


@dataclass(frozen=True)
class Relevance:
    """What made the model write some tokens.

    Attributes:
        maps: text to patch: one for each picture.
        text_to_query: for each set of views, the relevance of its visual tokens, [tokens], not below 0, before the
            connector shares it out to patches; with several levels of tokens, one level after another.
    """

    maps: tuple[Map, ...]
    text_to_query: tuple[Tensor, ...]


class Explainer:
    """Explains one answer, as `explain` does, in steps that take about as long as a pass of the model.

    Between two steps the model may answer, but not in another thread while a step is taken: its mode and its attention
    are changed, and put back at the end of the step.

    Args:
        model: any model.
        pictures: read already, at least one.
        question: as for `answer`.
        answer: the answer to explain.
        each: whether its parts are words or tokens.

    Attributes:
        sample: question and answer as tokens.
        words: the parts of the answer.

    Raises:
        ValueError: if the answer is empty or too long.
        NotImplementedError: as for `explain`.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        pictures: Sequence[Image | Draft | Video],
        question: str,
        answer: str,
        each: Each = "word",
    ) -> None:
        if not answer.strip():
            raise ValueError("the answer is empty: give an answer to explain")
        turns = [Turn("user", with_pictures(question, len(pictures))), Turn("assistant", answer.strip())]
        self.model, self.sample = model, model.processor.encode(pictures, turns)
        self.words = words_of(model.processor, self.sample, answer, each)
        self._sets = sets_of(model, self.sample.sizes)

    def read(self) -> None:
        """Read question and answer; all attention probabilities stay in memory.

        Raises:
            ValueError: if the language model's attention cannot be recorded or does not fit into memory.
        """
        with _recording(self.model):
            self._recorded = recorded_answer(self.model, self.sample)

    def relevance(self, places: Sequence[int]) -> Relevance:
        """What made the model write the tokens at these positions of the sample; after `read`.

        Raises:
            NotImplementedError: as for `explain`.
        """
        model, recorded, merge = self.model, self._recorded, self.model.merge
        with _recording(model):
            gradients = recorded.gradients(places)
            rows = rows_by_layer(gradients.language, places, (0, *(() if merge is None else merge.layers)))
            tokens = token_relevance(model, recorded.sample, self._sets, rows)
            prefix = model.connector.prefix_tokens
            cells = [
                [patches[prefix:] for patches in _patches(model, recorded, gradients, of_set, of_tokens)]
                for of_set, of_tokens in zip(self._sets, tokens, strict=True)
            ]
        maps = tuple(each.float().numpy() for each in maps_of(self._sets, cells, recorded.sample.sizes))
        return Relevance(maps, tuple(each.detach().float() for each in tokens))

    def query_to_patch(self) -> tuple[tuple[QueryToPatch, ...], bool]:
        """Which patches the tokens of each set of views look at, and whether the connector says so; after `read`."""
        connector, found, by_rules = self.model.connector, [], True
        with _recording(self.model):
            for picture, own in groupby(self._sets, key=lambda each: each.picture):
                for number, of_set in enumerate(own):
                    call = self._recorded.calls[of_set.call]
                    tables, by_rules = patches_of_tokens(connector, call, of_set.place)
                    cells = tuple(table[:, connector.prefix_tokens :] for table in tables)
                    found.append(QueryToPatch(picture, number, of_set.grids, cells))
        return tuple(found), by_rules


@contextmanager
def _recording(model: VisionLanguageModel) -> Iterator[None]:
    with at_rest(model), torch.enable_grad():
        yield


def _patches(
    model: VisionLanguageModel, recorded: RecordedAnswer, gradients: Gradients, of_set: SetOfViews, tokens: Tensor
) -> list[Tensor]:
    """Relevance of the rows of each map of a set of views, [prefix_tokens + cells] each."""
    call = recorded.calls[of_set.call]
    tables = model.connector.token_to_patch(call.grids, call.seen(of_set.place, gradients.connector[of_set.call]))
    if tables is not None:
        return [tokens @ table for table in tables]
    found = zip(call.maps, gradients.maps[of_set.call], strict=True)
    return [relevance_by_gradient(features[of_set.place], gradient[of_set.place]) for features, gradient in found]
