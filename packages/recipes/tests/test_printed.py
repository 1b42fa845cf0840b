"""Pages of printed text: what is on them, in which fonts, and what is said about missing fonts."""

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.data import PrintedData, PrintedSettings
from recipes.data.printed import fonts
from recipes.data.printed.fonts import BUILT_IN, FILES, HELD_OUT, TRAINING, faces, font_of
from recipes.data.printed.pages import EASY_CHARACTERS, EASY_SIZE, Row, _laid_out
from recipes.data.printed.texts import ALPHABET, CURRENCIES, line

PRINTED = PrintedSettings(fonts=(BUILT_IN,))
CLEAN = replace(PRINTED, turn=0.0, noise=0.0)


def text_of(page):
    question, answer = page.turns
    assert (question.role, question.text, answer.role) == ("user", "<image>\nRead.", "assistant")
    return answer.text


def test_the_same_number_gives_the_same_page():
    first, again, other = (PRINTED.draw(3, index) for index in (5, 5, 6))
    assert text_of(first) == text_of(again) != text_of(other)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.image.mode == "RGB"
    assert text_of(PRINTED.draw(4, 5)) != text_of(first)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_what_is_on_a_page(index, progress):
    page = PRINTED.draw(0, index, progress=progress)
    rows = text_of(page).split("\n")
    assert set("".join(rows)) <= set(ALPHABET)
    assert all(row and row == " ".join(row.split(" ")) and row == row.strip() and "  " not in row for row in rows)
    assert len(rows) <= PRINTED.lines
    assert all(len(row) <= PRINTED.characters + 20 for row in rows)
    # A turn makes the page larger.
    assert page.image.width * page.image.height <= 1.6 * PRINTED.area


def test_the_first_pages_are_easy():
    for index in range(20):
        page = PRINTED.draw(0, index, progress=0.0)
        text = text_of(page)
        assert set(text) <= set("0123456789 ")
        assert len(text) <= EASY_CHARACTERS
        font = font_of(_first_face(), EASY_SIZE)
        assert page.image.width == int(6 + font.getlength(text))
        assert set(np.unique(np.asarray(page.image))) >= {0, 255}


def _first_face():
    files = list(faces((BUILT_IN,)))
    random.Random(0).shuffle(files)
    return files[0]


def test_all_kinds_of_text_occur_and_pages_differ_in_size():
    pages = [CLEAN.draw(1, index) for index in range(400)]
    written = "\n".join(map(text_of, pages))
    assert set(written) == {*ALPHABET, "\n"}
    assert len({page.image.size for page in pages}) > 350
    assert any(page.image.width > 6 * page.image.height for page in pages)


def test_every_row_is_printed_whole():
    """Ink reaches from the left margin to the right one, and there are as many bands of ink as rows."""
    font, rows = font_of(_first_face(), 16), [Row("HHH", "888"), Row("HHHHHHHH"), Row("HH", "88")]
    page, kept = _laid_out(rows, font, random.Random(0), 0.0, 10**6)
    assert [row.text for row in kept] == ["HHH 888", "HHHHHHHH", "HH 88"]
    ink = np.asarray(page) > 128
    filled = ink.any(axis=1)
    assert int(filled[0]) + int((np.diff(filled.astype(int)) == 1).sum()) == 3
    columns = np.flatnonzero(ink.any(axis=0))
    assert columns[0] <= 6
    assert columns[-1] >= page.width - 7


def test_rows_without_room_are_not_in_the_answer():
    font, rows = font_of(_first_face(), 16), [Row("HHHH")] * 6
    whole, all_of_them = _laid_out(rows, font, random.Random(0), 0.0, 10**6)
    page, kept = _laid_out(rows, font, random.Random(0), 0.0, whole.width * whole.height // 2)
    assert len(all_of_them) == 6
    assert 1 <= len(kept) <= 3
    assert page.width * page.height <= whole.width * whole.height // 2


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 40), st.floats(0, 1))
def test_a_line_has_the_length_asked_for(seed, most, difficulty):
    text = line(random.Random(seed), most, difficulty)
    assert 1 <= len(text) <= most
    assert text == text.strip()
    if difficulty == 0:
        assert set(text) <= set("0123456789 ")


def test_currencies_can_be_printed():
    assert set(CURRENCIES) <= set(ALPHABET)


def test_fonts_to_validate_on_are_not_learnt_from():
    assert not set(HELD_OUT) & set(TRAINING)
    assert {*HELD_OUT, *TRAINING} == set(FILES)


def test_missing_fonts_are_named_together(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "FOLDER", tmp_path)
    fonts._faces.cache_clear()
    with pytest.raises(ValueError, match="apt-get install fonts-hack fonts-lato\n") as error:
        faces((BUILT_IN, "fonts-hack", "fonts-lato"))
    assert len(str(error.value).splitlines()) <= 4
    data = PrintedData(printing=PRINTED, val_fonts=("fonts-lato",))
    with pytest.raises(ValueError, match="apt-get install fonts-lato\n"):
        data.setup("fit")
    PrintedData(printing=PRINTED, val_fonts=(BUILT_IN,)).setup("fit")
    fonts._faces.cache_clear()


@pytest.mark.parametrize(
    ("names", "message"), [(("fonts-comic",), "fonts-comic: only matplotlib"), ((), "at least one")]
)
def test_unusable_names_of_fonts(names, message):
    with pytest.raises(ValueError, match=message):
        faces(names)


def test_a_font_without_a_character_is_left_out(monkeypatch):
    assert faces((BUILT_IN,))
    monkeypatch.setattr(fonts, "ALPHABET", ALPHABET + "字")
    fonts._faces.cache_clear()
    with pytest.raises(ValueError, match="at least one"):
        faces((BUILT_IN,))
    fonts._faces.cache_clear()


@pytest.mark.parametrize(
    "wrong", [{"font_sizes": (3, 9)}, {"font_sizes": (20, 12)}, {"lines": 0}, {"turn": -1.0}, {"area": 20_000}]
)
def test_unusable_settings(wrong):
    with pytest.raises(ValueError, match=r"font_sizes|at least"):
        replace(PRINTED, **wrong)


def test_validation_pages_are_others():
    data = PrintedData(printing=CLEAN, val_fonts=("fonts-lato",), pages=8)
    assert data.val_settings == replace(CLEAN, fonts=("fonts-lato",))
    assert data.identity.samples == 8
    assert data.identity != PrintedData(printing=PRINTED, pages=8).identity
