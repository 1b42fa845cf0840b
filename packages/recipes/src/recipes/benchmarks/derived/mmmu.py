"""Questions of MMMU."""

from collections.abc import Mapping
from typing import Any

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


class MmmuQuestion(Derived):
    """Adds `original` and `lmms_eval` (the prompt as MMMU's code and as lmms-eval write it), `options`, `answers`,
    `subject` and `domain`. Marks such as `<image 1>` stay in the text. A held-back answer, "?", is left out.
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
            found |= {"lmms_eval": f"{question}\n{choices['lines']}\n\n{LETTER}"}
        else:
            found |= {"options": [], "original": f"{question}\n\n{SHORT}", "lmms_eval": f"{question}\n\n{SHORT}"}
        if row.text("answer") == "?":
            return found
        accepted = read_list(row, "answer")
        return found | {"answers": [str(each) for each in accepted] if isinstance(accepted, list) else [str(accepted)]}
