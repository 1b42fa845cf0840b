"""Explain an answer: maps on the pictures of what made the model write it, and each of its words."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.connectors import Chain, Connector, Parallel
from foveal.connectors.relevance import patches_of_tokens, relevance_by_gradient
from foveal.core import Grid, Size
from foveal.models.generation.answer import Given
from foveal.models.generation.answer import answer as answered
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.templates import Turn, with_pictures
from foveal.models.relevance.recorded_answer import Gradients, RecordedAnswer, at_rest, recorded_answer
from foveal.models.relevance.sets import SetOfViews, maps_of, sets_of
from foveal.models.relevance.token_relevance import rows_by_layer, token_relevance
from foveal.models.relevance.words import Each, words_of
from foveal.models.views.any_picture import rgb_of
from foveal.models.views.video import Video

Map = np.ndarray[Any, np.dtype[np.float32]]
"""[rows, columns], float32, over the whole of a picture, not below 0; its sum is the relevance on the picture."""


@dataclass(frozen=True)
class WordRelevance:
    """What made the model write a word.

    Attributes:
        word: its text.
        maps: one for each picture.
    """

    word: str
    maps: tuple[Map, ...]


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
class Explanation:
    """What made a model write an answer.

    Maps cover the whole picture, whatever its views were, with at most 512 rows and columns: to draw one over the
    picture, stretch it to the picture's size.

    Attributes:
        question: as it was asked.
        answer: the explained answer.
        connector: name of the connector, with the names of its parts if it has some.
        by_rules: whether it says which patches its tokens come from; otherwise the maps are gradients times features at
            the encoder's output.
        sizes: size of each picture.
        over_answer: for each picture, the map of the whole answer; of a video that the plan keeps whole, one map for
            all of its frames together.
        per_word: the words of the answer, or its tokens, with their maps; empty if they were not asked for.
        query_to_patch: for each set of views.
    """

    question: str
    answer: str
    connector: str
    by_rules: bool
    sizes: tuple[Size, ...]
    over_answer: tuple[Map, ...]
    per_word: tuple[WordRelevance, ...]
    query_to_patch: tuple[QueryToPatch, ...]


def explain(
    model: VisionLanguageModel,
    pictures: Given | Sequence[Given],
    question: str,
    answer: str | None = None,
    *,
    each: Each | None = "word",
    max_new_tokens: int = 128,
) -> Explanation:
    """Find the parts of the pictures that made the model write its answer.

    Generic attention explainability through the language model (Chefer et al., arXiv 2103.15679) and the connector, as
    DeCo composes them (arXiv 2405.20985), then back through the merge and the view plan. Takes one pass over question
    and answer with all attention probabilities in memory, and a backward pass for the answer and for each word.

    The model must not answer in another thread meanwhile: its mode and its attention are changed, and put back at the
    end.

    Args:
        model: any model; the attention of its language model is computed by torch meanwhile.
        pictures: one or several, as for `answer`.
        question: as for `answer`.
        answer: the answer to explain; None: the model's own, greedy.
        each: whether to explain each word too, or each token; None: only the whole answer.
        max_new_tokens: longest answer of the model's own, in tokens.

    Raises:
        ValueError: if there is no picture, the answer is empty or too long, or the language model's attention cannot
            be recorded or does not fit into a GPU's memory; or as for `answer`.
        NotImplementedError: if the plan does not say what its views show, or the encoder's rows stand for no places.
    """
    many: Any = pictures if isinstance(pictures, list | tuple) else [pictures]
    read = [picture if isinstance(picture, Video) else rgb_of(picture) for picture in many]
    if not read:
        raise ValueError("there is no picture whose parts could be relevant: give at least one")
    text = answered(model, read, question, max_new_tokens=max_new_tokens) if answer is None else answer
    if not text.strip():
        whose = "the model answers nothing" if answer is None else "the answer is empty"
        raise ValueError(f"{whose}: give an answer to explain")
    turns = [Turn("user", with_pictures(question, len(read))), Turn("assistant", text.strip())]
    sample = model.processor.encode(read, turns)
    sets, words = sets_of(model, sample.sizes), words_of(model.processor, sample, text, each or "word")
    with at_rest(model), torch.enable_grad():
        recorded = recorded_answer(model, sample)
        everything = [place for word in words for place in word.places]
        over_answer = _maps(model, recorded, sets, everything)
        of_words = [WordRelevance(word.text, _maps(model, recorded, sets, word.places)) for word in words if each]
        tables, by_rules = _query_to_patch(model, recorded, sets)
    sizes = tuple(Size(*size) for size in sample.sizes)
    name = _named(model.connector)
    return Explanation(question, text.strip(), name, by_rules, sizes, over_answer, tuple(of_words), tables)


def _named(connector: Connector) -> str:
    name = type(connector).__name__
    parts = connector.parts if isinstance(connector, Chain | Parallel) else []
    return f"{name} of {', '.join(map(_named, parts))}" if parts else name


def _maps(
    model: VisionLanguageModel, recorded: RecordedAnswer, sets: Sequence[SetOfViews], places: Sequence[int]
) -> tuple[Map, ...]:
    """The maps of the words at these positions, for each picture."""
    gradients, merge = recorded.gradients(places), model.merge
    rows = rows_by_layer(gradients.language, places, (0, *(() if merge is None else merge.layers)))
    relevance = token_relevance(model, recorded.sample, sets, rows)
    prefix = model.connector.prefix_tokens
    cells = [
        [patches[prefix:] for patches in _patches(model, recorded, gradients, of_set, of_tokens)]
        for of_set, of_tokens in zip(sets, relevance, strict=True)
    ]
    return tuple(each.float().numpy() for each in maps_of(sets, cells, recorded.sample.sizes))


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


def _query_to_patch(
    model: VisionLanguageModel, recorded: RecordedAnswer, sets: Sequence[SetOfViews]
) -> tuple[tuple[QueryToPatch, ...], bool]:
    prefix, found, by_rules = model.connector.prefix_tokens, [], True
    for picture, own in groupby(sets, key=lambda each: each.picture):
        for number, of_set in enumerate(own):
            tables, by_rules = patches_of_tokens(model.connector, recorded.calls[of_set.call], of_set.place)
            cells = tuple(table[:, prefix:] for table in tables)
            found.append(QueryToPatch(picture, number, of_set.grids, cells))
    return tuple(found), by_rules
