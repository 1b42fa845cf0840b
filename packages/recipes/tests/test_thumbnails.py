"""Copies of pictures: their sizes, and the room that all of them take."""

import io
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from recipes.reports.evaluation_page import PICTURE_BYTES
from recipes.reports.html import thumbnails
from recipes.reports.html.thumbnails import LONGEST, SIDES, Thumbnails

LARGE = 10**9


def sizes(pictures, budget=LARGE):
    with closing(Thumbnails()) as made:
        for picture in pictures:
            made.add(picture)
        return [Image.open(io.BytesIO(each)).size for each in made.fitted(budget)]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1500))
def test_a_copy_has_the_pictures_shape_and_is_never_larger(width, height):
    ((across, down),) = sizes([Image.new("RGB", (width, height))])
    assert 1 <= across <= width
    assert 1 <= down <= height
    assert across * down <= 1.01 * SIDES[0] ** 2 + across + down
    assert max(across, down) <= LONGEST * SIDES[0]
    assert abs(across * height - down * width) <= max(width, height) or 1 in (across, down)


def written(number, size=(600, 300)):
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for line in range(0, size[1], 20):
        draw.text((5, line), f"{number * 7919 + line} and other words of a page, to {number}", fill="black")
    return picture


def test_copies_become_smaller_until_they_fit():
    pictures = [written(number) for number in range(8)]
    with closing(Thumbnails()) as made:
        for picture in pictures:
            made.add(picture)
        whole = sum(map(len, made.fitted(LARGE)))
        for part in (0.5, 0.2):
            taken = sum(map(len, made.fitted(int(part * whole))))
            assert 0.3 * part * whole < taken <= 1.1 * part * whole
    assert sizes(pictures, budget=1) == [(136, 68)] * 8, "the smallest"


def test_the_more_there_are_the_smaller_they_are_kept(monkeypatch):
    monkeypatch.setattr(thumbnails, "AT_FIRST", 4)
    found = sizes([Image.new("RGB", (700, 700), (number, 0, 0)) for number in range(17)])
    assert found[:5] == [(640, 640)] * 5
    assert found[16] == (320, 320)
    assert sorted(found, reverse=True) == found


@pytest.mark.slow
def test_1_000_different_pages_fit_a_fifth_of_the_room(monkeypatch):
    """As 5,000 would fit all of it."""
    monkeypatch.setattr(thumbnails, "AT_FIRST", thumbnails.AT_FIRST // 5)
    with closing(Thumbnails()) as made:
        for number in range(1000):
            made.add(written(number, (450, 300)))
        assert sum(map(len, made.fitted(PICTURE_BYTES // 5))) < 1.1 * PICTURE_BYTES / 5
