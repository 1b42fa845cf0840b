"""Questions of MMMU."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from foveal.models.prompts.templates import PLACEHOLDER
from recipes.benchmarks.derived.answers import read_list
from recipes.benchmarks.derived.choices import Choices
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row
from recipes.metrics.choice_parsers import letters_of

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy"),
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics", "Energy_and_Power"),
        *("Materials", "Mechanical_Engineering"),
    ),
}
"""The thirty subjects (MMMU-Benchmark/MMMU, data_utils.py)."""
LETTER = "Answer with the option's letter from the given choices directly."
SHORT = "Answer the question using a single word or phrase."
MARK = re.compile(r"<image (\d+)>")
PICTURES = range(1, 8)
"""Numbers of the fields `image_1` to `image_7`."""


class MmmuQuestion(Derived):
    """Adds `original` and `lmms_eval` (the prompt as MMMU's code and as lmms-eval write it), `options`, `answers`,
    `subject` and `domain`. Marks such as `<image 1>` stay in the text of `original`; in `lmms_eval`, pictures take
    their places, see `at_marks`. A held-back answer, "?", is left out.
    """

    names = ("original", "lmms_eval", "options", "answers", "subject", "domain")

    def values(self, row: Row) -> Mapping[str, Any]:
        question, subject = row.text("question"), row.text("id").partition("_")[2].rpartition("_")[0]
        domain = next((domain for domain, subjects in DOMAINS.items() if subject in subjects), None)
        if domain is None:
            raise ValueError(f"{row.where}, id: {row.text('id')!r:.60} names no subject of MMMU")
        found: dict[str, Any] = {"subject": subject, "domain": domain}
        if row.text("question_type") == "multiple-choice":
            choices = Choices("options", answer=None).values(row)
            numbered = zip(letters_of(choices["options"]), choices["options"], strict=True)
            bracketed = "".join(f"({letter}) {text}\n" for letter, text in numbered)
            original = f"{question}\n\n{bracketed}\n\n{LETTER}"
            found |= {"options": choices["options"], "original": original}
            asked = f"{question}\n{choices['lines']}\n\n{LETTER}"
        else:
            asked = f"{question}\n\n{SHORT}"
            found |= {"options": [], "original": asked}
        pictures = [number for number in PICTURES if row.fields.get(f"image_{number}") not in (None, "", [])]
        found |= {"lmms_eval": at_marks(asked, pictures)}
        if row.text("answer") == "?":
            return found
        accepted = read_list(row, "answer")
        return found | {"answers": [str(each) for each in accepted] if isinstance(accepted, list) else [str(accepted)]}


def at_marks(text: str, pictures: Sequence[int]) -> str:
    """A prompt with `<image>` where each picture is named first, as lmms-eval gives it to chat models.

    Pictures before all text stand on lines of their own, as in our adapter for lmms-eval. lmms-eval loses text where a
    mark is repeated; here it stays. The text is unchanged, so that pictures come before it, if it does not name all of
    them in their order.

    Args:
        text: with marks such as `<image 1>`.
        pictures: their numbers.
    """
    first: dict[int, re.Match[str]] = {}
    for mark in MARK.finditer(text):
        first.setdefault(int(mark[1]), mark)
    if list(first) != list(pictures):
        return text
    placed, end = "", 0
    for mark in first.values():
        placed += text[end : mark.start()].strip()
        placed += PLACEHOLDER if placed.replace(f"{PLACEHOLDER}\n", "") else f"{PLACEHOLDER}\n"
        end = mark.end()
    return placed + text[end:].strip()
