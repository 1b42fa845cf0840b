"""Explain an answer: maps on the pictures of what made the model write it, and each of its words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foveal.connectors import Chain, Connector, Parallel
from foveal.core import Size
from foveal.models.generation.answer import Given
from foveal.models.generation.answer import answer as answered
from foveal.models.model import VisionLanguageModel
from foveal.models.relevance.explainer import Explainer, Map, QueryToPatch
from foveal.models.relevance.words import Each
from foveal.models.views.any_picture import rgb_of
from foveal.models.views.video import Video


@dataclass(frozen=True)
class WordRelevance:
    """What made the model write a word.

    Attributes:
        word: its text.
        maps: one for each picture.
        text_to_query: as in `Explanation`.
    """

    word: str
    maps: tuple[Map, ...]
    text_to_query: tuple[Tensor, ...]


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
        text_to_query: for each set of views, the relevance of its visual tokens for the whole answer, [tokens], not
            below 0; with several levels of tokens, one level after another.
        per_word: the words of the answer, or its tokens, with their maps; empty if they were not asked for.
        query_to_patch: for each set of views, in the same order.
    """

    question: str
    answer: str
    connector: str
    by_rules: bool
    sizes: tuple[Size, ...]
    over_answer: tuple[Map, ...]
    text_to_query: tuple[Tensor, ...]
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
            be recorded or does not fit into memory; or as for `answer`.
        NotImplementedError: if the plan does not say what its views show, or the encoder's rows stand for no places.
    """
    many: Any = pictures if isinstance(pictures, list | tuple) else [pictures]
    read = [picture if isinstance(picture, Video) else rgb_of(picture) for picture in many]
    if not read:
        raise ValueError("there is no picture whose parts could be relevant: give at least one")
    text = answered(model, read, question, max_new_tokens=max_new_tokens) if answer is None else answer
    if answer is None and not text.strip():
        raise ValueError("the model answers nothing: give an answer to explain")
    explainer = Explainer(model, read, question, text, each or "word")
    explainer.read()
    whole = explainer.relevance([place for word in explainer.words for place in word.places])
    of_words = []
    for word in explainer.words if each else ():
        found = explainer.relevance(word.places)
        of_words.append(WordRelevance(word.text, found.maps, found.text_to_query))
    tables, by_rules = explainer.query_to_patch()
    sizes = tuple(Size(*size) for size in explainer.sample.sizes)
    name = _named(model.connector)
    return Explanation(
        question, text.strip(), name, by_rules, sizes, whole.maps, whole.text_to_query, tuple(of_words), tables
    )


def _named(connector: Connector) -> str:
    name = type(connector).__name__
    parts = connector.parts if isinstance(connector, Chain | Parallel) else []
    return f"{name} of {', '.join(map(_named, parts))}" if parts else name
