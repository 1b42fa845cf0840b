"""The words of an answer and their tokens."""

from dataclasses import dataclass
from typing import Literal

from foveal.models.prompts.batch import Sample
from foveal.models.prompts.constants import IGNORE_INDEX
from foveal.models.prompts.processor import Processor

Each = Literal["word", "token"]
"""What an answer is divided into; words are what stands between spaces."""


@dataclass(frozen=True)
class Word:
    """A word of an answer, or a token.

    Attributes:
        text: the word, without the spaces around it.
        places: positions of its tokens in the sequence.
    """

    text: str
    places: tuple[int, ...]


def words_of(processor: Processor, sample: Sample, answer: str, each: Each = "word") -> list[Word]:
    """The words of the only answer of a conversation.

    Tokens that write no text, and those behind the answer, such as the one that ends it, belong to no word.

    Args:
        processor: that of the model.
        sample: a question with its answer.
        answer: the answer's text.
        each: what it is divided into.
    """
    places = (sample.labels != IGNORE_INDEX).nonzero().squeeze(1).tolist()
    ids = sample.input_ids[places].tolist()
    texts = [str(processor.tokenizer.decode(ids[:number], skip_special_tokens=True)) for number in range(len(ids) + 1)]
    written = answer.strip()
    last = next((number for number, text in enumerate(texts) if text.strip().startswith(written)), len(ids))
    groups: list[list[int]] = []
    for number in range(last):
        before, after = texts[number], texts[number + 1]
        starts = after[len(before) :][:1].isspace() or before[-1:].isspace() or not before
        # A word begins with its own letters: spaces before it belong to it, but do not begin another one.
        begun = bool(groups) and bool(before[len(texts[groups[-1][0]]) :].strip())
        if not groups or (begun and (starts or each == "token")):
            groups.append([])
        groups[-1].append(number)
    words = [
        Word(texts[group[-1] + 1][len(texts[group[0]]) :].strip(), tuple(places[number] for number in group))
        for group in groups
    ]
    return [word for word in words if word.text]
