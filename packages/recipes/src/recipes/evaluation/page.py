"""The page of an evaluation."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.core import Box
from foveal.models import BadImageError
from recipes.benchmarks.item import Item, PictureOf
from recipes.benchmarks.pictures import FileVideo
from recipes.evaluation.frames import frames_of
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import Scores
from recipes.reading.pictures import read_picture
from recipes.reports.evaluation_page import Opener, Shown, write_page


@dataclass(frozen=True)
class LookedAt:
    """Where the model looked for an answer.

    Attributes:
        pictures: of the item, with the relevance over them.
        numbers: see `summary_of`.
    """

    pictures: tuple[Opener, ...]
    numbers: Mapping[str, float]


Looked = Mapping[str, LookedAt]
"""By key of the item."""

UNSEEN = (ValueError, ImportError)
"""Why the page has a sentence in the place of a picture: answers can be scored without what reads videos or PDFs."""


@dataclass(frozen=True)
class _Opened:
    """Opens a picture; two of one name are the same."""

    name: str
    picture: PictureOf = field(compare=False)

    def __call__(self) -> Image:
        try:
            return read_picture(self.picture.find())
        except UNSEEN as error:
            raise BadImageError(str(error)) from error


@dataclass(frozen=True)
class _Frame:
    """Opens the frame in the middle of a video."""

    video: FileVideo

    def __call__(self) -> Image:
        try:
            return frames_of(self.video.find(), 1)[0]
        except UNSEEN as error:
            raise BadImageError(str(error)) from error


def show(results: Results, scores: Scores | None, looked: Looked, path: Path) -> None:
    """Write the page on which people look at the answers, worst first.

    Args:
        results: the answers.
        scores: None: nothing is scored.
        looked: for some items, where the model looked.
        path: HTML file to write.
    """
    single = [None] * len(results.items) if scores is None else scores.single
    settings = {} if results.settings is None else asdict(results.settings)
    facts = {"benchmark": results.benchmark.about, "split": results.benchmark.split, "questions": len(results.items)}
    facts |= {name: value for name, value in settings.items() if value != ""}
    if scores is not None:
        facts |= {"missing answers": scores.missing, "not understood": scores.unparsed}
    write_page(
        (_shown(results, item, score, looked) for item, score in zip(results.items, single, strict=True)),
        path,
        title=results.name,
        facts={name: str(value) for name, value in facts.items()},
        scores={} if scores is None else scores.overall,
    )


def _written(value: Any) -> str:
    """A value that is no text, such as the fields of a receipt, as a model is asked to write it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _shown(results: Results, item: Item, score: float | None, looked: Looked) -> Shown:
    benchmark = results.benchmark
    accepted = next((item.values[name] for name in benchmark.update.values() if name in item.values), ())
    several = accepted if isinstance(accepted, list | tuple) and not isinstance(accepted, Box) else [accepted]
    pictures = tuple(_Opened(picture.name, picture) for picture in item.pictures)
    explained = looked[item.key].pictures if item.key in looked else ()
    frames = () if item.video is None else (_Frame(item.video),)
    return Shown(
        key=item.key,
        question=results.questions[item.key].prompt,
        references=tuple(each if isinstance(each, str) else _written(each) for each in several),
        answer=results.answers.get(item.key, ""),
        score=score,
        pictures=(*pictures, *frames, *explained),
        boxes=benchmark.places_of(item),
        group=str(item.values.get(benchmark.groups[0], "")) if benchmark.groups else "",
    )
