"""The words of an answer and their tokens."""

from dataclasses import dataclass

from foveal.models.prompts.batch import Sample
from foveal.models.prompts.constants import IGNORE_INDEX
from foveal.models.prompts.processor import Processor


@dataclass(frozen=True)
class Word:
    """A word of an answer.

    Attributes:
        text: the word, without the spaces around it.
        places: positions of its tokens in the sequence.
    """

    text: str
    places: tuple[int, ...]


def words_of(processor: Processor, sample: Sample, answer: str) -> list[Word]:
    """The words of the only answer of a conversation, which are what stands between spaces.

    Tokens that write no text, and those behind the answer, such as the one that ends it, belong to no word.

    Args:
        processor: that of the model.
        sample: a question with its answer.
        answer: the answer's text.
    """
    places = (sample.labels != IGNORE_INDEX).nonzero().squeeze(1).tolist()
    texts = [_text(processor, sample.input_ids[places[:number]].tolist()) for number in range(len(places) + 1)]
    written = answer.strip()
    last = next((number for number, text in enumerate(texts) if text.strip().startswith(written)), len(places))
    words: list[Word] = []
    begun: list[int] = []
    start = 0
    for number, place in enumerate(places[:last]):
        before, piece = texts[number], texts[number + 1][len(texts[number]) :]
        if begun and (piece[:1].isspace() or before[-1:].isspace()) and before[start:].strip():
            words.append(Word(before[start:].strip(), tuple(begun)))
            begun = []
        if not begun:
            start = len(before)
        begun.append(place)
    if begun and texts[last][start:].strip():
        words.append(Word(texts[last][start:].strip(), tuple(begun)))
    return words


def _text(processor: Processor, ids: list[int]) -> str:
    return str(processor.tokenizer.decode(ids, skip_special_tokens=True))
