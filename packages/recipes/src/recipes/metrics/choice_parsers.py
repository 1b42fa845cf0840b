"""Find the letter that an answer to a multiple-choice question chooses, as the published evaluations do.

Every parser takes the answer and the texts of the options (A, B, C ... in this order), and returns the letter, or None
if the answer chooses none: then it is wrong. Where a reference draws a random letter instead, nothing is drawn here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

ChoiceParser = Literal["mmmu", "letter", "strict", "scienceqa", "egoschema", "vlmevalkit"]
ENDS = ",.!?;:'"
SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
"""Openings that VLMEvalKit takes as refusals."""
STANDING_LAST = 4
"""VLMEvalKit: words at the end of an answer among which its only letter may stand."""


def letters_of(options: Sequence[str]) -> str:
    """The letters of as many options: `ABCD` for four.

    Raises:
        ValueError: if there are none, or more than letters.
    """
    if not 1 <= len(options) <= 26:
        raise ValueError(f"a question with {len(options)} options: at least 1 and at most 26 have letters")
    return "".join(chr(ord("A") + number) for number in range(len(options)))


def mmmu(answer: str, options: Sequence[str]) -> str | None:
    """MMMU's own parser (MMMU-Benchmark/MMMU, eval_utils.py): the choice that is mentioned last.

    Looks for (B), then for B between spaces, then in answers of more than five words for the text of an option.
    """
    letters, padded = letters_of(options), f" {_without_ends(answer)} "
    for form in ("({})", " {} "):
        places = {letter: padded.rfind(form.format(letter)) for letter in letters}
        if max(places.values()) >= 0:
            return max(places, key=lambda letter: places[letter])
    if len(padded.split()) <= 5:
        return None
    texts = {letter: padded.lower().rfind(text.lower()) for letter, text in zip(letters, options, strict=True)}
    return max(texts, key=lambda letter: texts[letter]) if max(texts.values()) >= 0 else None


def egoschema(answer: str, options: Sequence[str]) -> str | None:
    """The choice that is mentioned first, as (B), B before a space, or B. (lmms-eval's for EgoSchema)."""
    letters, padded = letters_of(options), f" {_without_ends(answer)} "
    found = [
        (place, letter)
        for letter in letters
        for form in ("({})", "{} ", "{}.")
        if (place := padded.find(form.format(letter))) >= 0
    ]
    return min(found)[1] if found else None


def letter(answer: str, options: Sequence[str]) -> str | None:
    """The first character, upper or lower case (lmms-eval's for SEED-Bench): "A dog" chooses A."""
    first = answer.strip()[:1].upper()
    return first if first and first in letters_of(options) else None


def strict(answer: str, options: Sequence[str]) -> str | None:
    """The bare letter and nothing else (LLaVA's for SEED-Bench)."""
    return answer if len(answer) == 1 and answer in letters_of(options) else None


def scienceqa(answer: str, options: Sequence[str]) -> str | None:
    """The letter alone, or before ". ", or in "The answer is B." said once (LLaVA, eval_science_qa.py)."""
    letters, found = letters_of(options), None
    if answer[:1] in tuple("ABCDE") and (len(answer) == 1 or answer[1:3] == ". "):
        found = answer[0]
    elif len(said := re.findall(r"The answer is ([A-Z]).", answer)) == 1:
        found = said[0]
    return found if found is not None and found in letters else None


def vlmevalkit(answer: str, options: Sequence[str]) -> str | None:
    """VLMEvalKit's exact matching, without a judge: one letter that stands alone, or the text of one option."""
    letters = letters_of(options)
    if any(refusal in answer for refusal in REFUSALS):
        return None
    words = answer.translate(SEPARATORS).split()
    named = [each for each in letters if each in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - STANDING_LAST:
        return named[0]
    said = re.findall(r"answer is ([A-Z])", answer)
    if len(said) == 1 and said[0] in letters:
        return str(said[0])
    if len(answer) > 2 * sum(len(text) for text in options):
        return None
    inside = [each for each, text in zip(letters, options, strict=True) if text.lower() in answer.lower()]
    return inside[0] if len(inside) == 1 else None


PARSERS: Mapping[ChoiceParser, Callable[[str, Sequence[str]], str | None]] = {
    "mmmu": mmmu,
    "letter": letter,
    "strict": strict,
    "scienceqa": scienceqa,
    "egoschema": egoschema,
    "vlmevalkit": vlmevalkit,
}


def _without_ends(text: str) -> str:
    for mark in ENDS:
        text = text.strip(mark)
    return text
