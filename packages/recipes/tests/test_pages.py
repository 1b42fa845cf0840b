"""Built-in pages: the stream of the default run, and lines, words and questions."""

import hashlib
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.data.pages import PageSettings, draw_page

LETTERS = PageSettings(
    sizes=((160, 120),),
    font_sizes=(8, 10),
    digits=(2, 5),
    characters=string.ascii_lowercase,
    words=(1, 3),
    lines=(2, 5),
    questions=3,
)


def test_default_pages_stay_as_they_are():
    """Scores of the default run stay comparable: not a pixel of its pages changes."""
    digest = hashlib.sha256()
    for index in range(64):
        for progress in (0.0, 0.5, 1.0):
            page = draw_page(PageSettings(), 3, index, progress=progress)
            digest.update(page.image.tobytes())
            digest.update(repr((page.image.size, page.turns)).encode())
    assert digest.hexdigest() == "316b868819f7b0aa7933ce12e0b443dd7d9e4c115ca03ec57f4b432a916961ab"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_questions_about_lines(seed, index):
    page = draw_page(LETTERS, seed, index)
    again = draw_page(LETTERS, seed, index)
    assert (page.image.tobytes(), page.turns) == (again.image.tobytes(), again.turns)
    questions = [turn.text for turn in page.turns[::2]]
    assert [turn.role for turn in page.turns] == ["user", "assistant"] * len(questions)
    assert 1 <= len(questions) <= 3
    assert len(set(questions)) == len(questions)
    assert [question.startswith("<image>\n") for question in questions] == [True] + [False] * (len(questions) - 1)
    numbers = [int(question.removeprefix("<image>\n").removeprefix("Read line ")[:-1]) for question in questions]
    assert all(1 <= number <= 5 for number in numbers)
    for answer in page.turns[1::2]:
        words = answer.text.split(" ")
        assert 1 <= len(words) <= 3
        assert all(2 <= len(word) <= 5 and set(word) <= set(string.ascii_lowercase) for word in words)


def rows_with_ink(page):
    grey = page.image.convert("L")
    return sum(min(grey.crop((0, y, grey.width, y + 1)).tobytes()) < 128 for y in range(grey.height))


def test_first_pages_have_one_line():
    settled = PageSettings(characters="0", lines=(4, 4), font_sizes=(12, 12))
    easy, hard = (draw_page(settled, 0, 0, progress=progress) for progress in (0.0, 1.0))
    assert easy.turns[0].text == "<image>\nRead line 1."
    assert rows_with_ink(hard) >= 2 * rows_with_ink(easy) > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"words": (2, 1)}, "words: the smallest is at least 1 and at most the largest, not 2 and 1"),
        ({"lines": (0, 1)}, "lines: the smallest is at least 1 and at most the largest, not 0 and 1"),
        ({"characters": ""}, "characters: printable ones are needed, and no space, not ''"),
        ({"characters": "ab c"}, "characters: printable ones are needed, and no space, not 'ab c'"),
        ({"questions": 2}, "questions: at least 1, and at most one for each of 1 lines, not 2"),
    ],
)
def test_settings_that_contradict(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        PageSettings(**wrong)
    assert str(caught.value) == message
