"""What was read of a page, by height, place, seam and token."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import Box, Grid, Size
from recipes.acuity_chart.pages import Printed
from recipes.acuity_chart.scores import (
    SeamTally,
    Tally,
    answered,
    by,
    by_place,
    by_seam,
    by_tokens,
    cells_of,
    chance_level,
    characters_read,
)
from recipes.acuity_chart.seams import Seam

DIGITS = "0123456789"
SIZE = Size(60, 20)


def page(text, left=10.0, height=8.0, size=SIZE):
    boxes = tuple(Box(left + 6 * number, 5, left + 5 + 6 * number, 5 + height) for number in range(len(text)))
    return Printed(size, text, boxes, height, "aileron", 1.0)


@pytest.mark.parametrize(
    ("text", "answer", "read"),
    [
        ("123", "123", "123"),
        ("123", "The number is 1 2 3.", "123"),
        ("123", "23", "-23"),
        ("123", "1923", "123"),
        ("123", "321", "-2-"),
        ("123", "", "---"),
        ("111", "1", "1--"),
        ("123", "0123456789", "---"),
        ("123", "0123456", "---"),
        ("123", "012345", "123"),
    ],
)
def test_characters_read(text, answer, read):
    found = characters_read(text, answer, DIGITS)
    assert sum(found) == sum(each != "-" for each in read)
    if answer != "321" and answer != "1":
        assert "".join(each if flag else "-" for each, flag in zip(text, found, strict=True)) == read


def test_case_counts_only_if_the_alphabet_has_both():
    assert characters_read("AB", "ab", "ABC") == (True, True)
    assert characters_read("ab", "AB", "abc") == (True, True)
    assert characters_read("Ab", "ab", "ABCabc") == (False, True)


@settings(max_examples=50, deadline=None)
@given(st.text(DIGITS, min_size=1, max_size=6), st.text(max_size=12))
def test_no_more_is_read_than_is_there(text, answer):
    read = characters_read(text, answer, DIGITS)
    assert len(read) == len(text)
    assert sum(read) <= sum(each in DIGITS for each in answer)
    assert all(characters_read(text, f"<{text}>", DIGITS))


def test_chance_is_what_the_same_answers_score_on_other_pages():
    texts = ["123", "456", "789"]
    seen = [answered(page(text), text, DIGITS, ()) for text in texts]
    assert chance_level(seen, DIGITS) == 0
    blind = [answered(page(text), "1", DIGITS, ()) for text in texts]
    assert chance_level(blind, DIGITS) == pytest.approx(1 / 9)
    assert chance_level(seen[:1], DIGITS) == 0.1
    # As many comparisons as are enough: 20,000 pages would take hours otherwise.
    many = [answered(page("12"), "12", DIGITS, ())] * 2000
    assert chance_level(many, DIGITS) == 1


def test_tallies():
    seams = (Seam(True, 18.0, 0.0, 20.0),)
    results = [
        answered(page("123", height=8), "123", DIGITS, seams),
        answered(page("456", height=6), "46", DIGITS, seams),
        answered(page("78", left=30, height=6), "", DIGITS, seams),
    ]
    assert by(results, lambda each: each.page.height) == {8: Tally(3, 3), 6: Tally(2, 5)}
    # The page without a character across is not compared with.
    assert by_seam(results) == SeamTally(Tally(1, 2), 1.0)
    assert by_seam(results[2:]) is None
    assert by_place(results, SIZE, Grid(2, 3)) == [
        [Tally(3, 4), Tally(2, 4), Tally(0, 0)],
        [Tally(0, 0), Tally(0, 0), Tally(0, 0)],
    ]
    assert by_tokens(results, {SIZE: 10}) == {SIZE: pytest.approx(5 / 3 / 10)}
    assert by_tokens(results, {SIZE: None}) == {SIZE: None}
    assert cells_of(results * 27, SIZE) == Grid(2, 7)
    assert cells_of([], SIZE) == Grid(1, 1)
