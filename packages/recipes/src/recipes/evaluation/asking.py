"""Ask a model the questions of a benchmark."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from PIL.Image import Image

from foveal.models import Sample, SeenPictures, Turn, Video, VisionLanguageModel, generate
from foveal.models.prompts.templates import with_pictures
from foveal.models.views.draft import Draft
from recipes.answering.answers import in_batches
from recipes.answering.questions import Unusable
from recipes.benchmarks.benchmark import Prompt
from recipes.benchmarks.item import Item
from recipes.evaluation.frames import FRAMES, frames_of
from recipes.reading.pictures import read_for


@dataclass(frozen=True)
class Asking:
    """How questions are asked.

    Attributes:
        prompt: of the benchmark.
        temperature: 0: the likeliest token.
        batch_size: questions answered together.
        frames: of a video.
        cuda_graphs: see `generate`.
    """

    prompt: Prompt
    temperature: float = 0.0
    batch_size: int = 8
    frames: int = FRAMES
    cuda_graphs: bool = False


class Asker:
    """Asks a model about pictures; those that several questions are about are read, cut and encoded once.

    Args:
        model: the model.
        how: how it is asked.
        unusable: what happens to questions that cannot be asked.
    """

    def __init__(self, model: VisionLanguageModel, how: Asking, unusable: Unusable) -> None:
        self.model, self.how, self.unusable = model, how, unusable
        self.seen = SeenPictures(model)
        self._shown: _Shown | None = None

    def answers(self, items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
        """Every item with its answer, those about the same pictures one after the other.

        Raises:
            ValueError: naming the item, if it cannot be asked, unless such items are left out.
        """
        for item, text in in_batches(
            chain.from_iterable(_by_pictures(items)),
            self._encode,
            self._generate,
            self.unusable,
            batch_size=self.how.batch_size,
        ):
            yield item, ended(text, self.how.prompt.stop)

    def _encode(self, item: Item) -> Sample:
        names = _names(item)
        before = self._shown if self._shown is not None and self._shown.names == names else None
        pictures = self._read(item) if before is None else before.pictures
        sample = self.model.processor.encode_prompt(
            pictures,
            [Turn("user", asked_text(self.how.prompt, item))],
            like=None if before is None else before.sample,
        )
        self._shown = _Shown(names, pictures, sample)
        return sample

    def _read(self, item: Item) -> list[Image | Draft | Video]:
        read: list[Image | Draft | Video] = [
            read_for(self.model.processor, picture.find()) for picture in item.pictures
        ]
        return read if item.video is None else [*read, Video(frames_of(item.video.find(), self.how.frames))]

    def _generate(self, samples: Sequence[Sample]) -> list[str]:
        return generate(
            self.model,
            self.model.processor.collate(samples, side="left"),
            max_new_tokens=self.how.prompt.max_new_tokens,
            temperature=self.how.temperature,
            cuda_graphs=self.how.cuda_graphs,
            seen=self.seen,
        )


@dataclass(frozen=True)
class _Shown:
    """The pictures of the last question, as they were read and cut."""

    names: tuple[str, ...]
    pictures: list[Image | Draft | Video]
    sample: Sample


def asked_text(prompt: Prompt, item: Item) -> str:
    """The text of an item's prompt, with `<image>` where its pictures are.

    Raises:
        ValueError: as for `Prompt.of`.
    """
    return with_pictures(prompt.of(item), len(item.pictures) + (item.video is not None))


def ended(text: str, stops: Sequence[str]) -> str:
    """The answer up to the first of some texts, without white space around it."""
    for stop in stops:
        text = text.split(stop)[0]
    return text.strip()


def of_rank(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The items of one rank; all questions about a picture are asked by the same rank."""
    loads, mine = [0] * world, []
    # The picture with most questions first, each to the rank that has the fewest so far.
    for group in sorted(_by_pictures(items), key=len, reverse=True):
        least = loads.index(min(loads))
        loads[least] += len(group)
        mine += group if least == rank else []
    return mine


def _by_pictures(items: Sequence[Item]) -> list[list[Item]]:
    """The items about the same pictures together; every question about none is alone."""
    groups: dict[object, list[Item]] = {}
    for number, item in enumerate(items):
        groups.setdefault(_names(item) or number, []).append(item)
    return list(groups.values())


def _names(item: Item) -> tuple[str, ...]:
    return (*(picture.name for picture in item.pictures), *([item.video.name] if item.video else []))
