"""Where a model looked for its worst answers."""

import sys
from functools import partial

import numpy as np
from PIL.Image import Image, fromarray

from foveal.models import VisionLanguageModel, explain
from recipes.benchmarks.item import Item
from recipes.evaluation.page import Looked, LookedAt
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import Scores
from recipes.reading.pictures import read_picture
from recipes.reports.relevance import heated
from recipes.reports.relevance_numbers import summary_of


def looked_at(model: VisionLanguageModel, results: Results, scores: Scores | None, number: int) -> Looked:
    """Pictures with the relevance of the whole answer over them, and its numbers, for the worst answers.

    Items without a picture or an answer are passed over; what cannot be explained is told on standard error.

    Args:
        model: that has answered.
        results: its answers.
        scores: decide which are the worst; None: the first ones are taken.
        number: how many are explained.
    """
    single = [None] * len(results.items) if scores is None else scores.single
    worst = sorted(zip(results.items, single, strict=True), key=lambda each: 0.0 if each[1] is None else each[1])
    shown = [item for item, _ in worst if item.pictures and item.video is None and results.answers.get(item.key)]
    found = {}
    for item in shown[:number]:
        try:
            found[item.key] = _looked_at(model, results, item)
        except (ValueError, NotImplementedError) as error:
            sys.stderr.write(f"not explained: {item.where}: {error}\n")
    return found


def _looked_at(model: VisionLanguageModel, results: Results, item: Item) -> LookedAt:
    prompt, answer = results.questions[item.key].prompt, results.answers[item.key]
    pictures = [read_picture(picture.find()) for picture in item.pictures]
    explained = explain(model, pictures, prompt, answer, each=None)
    pixels = (heated(picture, found) for picture, found in zip(pictures, explained.over_answer, strict=True))
    drawn = [fromarray((255 * each).round().astype(np.uint8)) for each in pixels]
    openers = tuple(partial(Image.copy, picture) for picture in drawn)
    return LookedAt(openers, summary_of(explained, results.benchmark.places_of(item)))
