"""Turn pictures and conversations into tensors."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import torch
from PIL.Image import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from foveal.core import Grid, Size
from foveal.models.prompts.batch import Batch, Measure, Sample
from foveal.models.prompts.chat import answer_ends, check_marks, prompt_segments
from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts.fitting import TooLongError, check_characters, longest_fitting
from foveal.models.prompts.packed_rows import collate_rows
from foveal.models.prompts.padded_rows import collate_padded
from foveal.models.prompts.positions import grid_positions
from foveal.models.prompts.template_texts import CHAT, TemplateName
from foveal.models.prompts.templates import PLACEHOLDER, Turn, check_turns
from foveal.models.prompts.tokenize import expanded, separator_id, tokenize
from foveal.models.prompts.videos import framed
from foveal.models.views.cut_views import cut_views
from foveal.models.views.draft import Draft, read_draft
from foveal.models.views.plan import ViewPlan
from foveal.models.views.read_image import read_image
from foveal.models.views.video import Video

logger = logging.getLogger(__name__)
Overlong = Literal["raise", "drop_turns"]


class Processor:
    """Makes samples and batches; holds no weights and can be sent to loader workers.

    Args:
        tokenizer: the language model's tokenizer.
        plan: maps a picture's size to its views.
        template: name of the prompt template.
        count: maps a picture's size to the lengths of its runs of visual tokens and the texts between them.
        grid: maps a picture's size to the rows and columns of its tokens, for language models with positions on a grid
            (see `grid_positions`); None: tokens of pictures are counted like text.
        max_length: longest sequence in tokens, including visual tokens.
        overlong: how a longer sequence is handled. `raise`: an error; `drop_turns`: drop whole exchanges from the end,
            which is logged, and raise an error if the first one is still too long. An exchange is never truncated.

    Raises:
        ValueError: if the template is unknown; if the tokenizer lacks a token of the template, has nothing to pad
            with, or adds anything but a BOS token to a text; or if the system text, `max_length` or `overlong` is
            invalid.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        plan: ViewPlan,
        *,
        count: Callable[[Size], Sequence[int | str]],
        grid: Callable[[Size], Grid] | None = None,
        template: TemplateName = "vicuna_v1",
        system: str | None = None,
        max_length: int = 2048,
        overlong: Overlong = "raise",
    ) -> None:
        if max_length < 1 or overlong not in get_args(Overlong):
            raise ValueError(f"max_length {max_length} must be at least 1, overlong {overlong!r} raise or drop_turns")
        if system is not None and PLACEHOLDER in system:
            raise ValueError(f"the system text holds {PLACEHOLDER}: pictures belong to questions")
        pad: int | None = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.unk_token_id
        if pad is None:
            raise ValueError("the tokenizer has neither a padding nor an unknown token to pad with")
        around = tokenizer("")["input_ids"]
        if around not in ([], [tokenizer.bos_token_id]):
            # Texts between pictures are tokenised separately: an EOS token would come before every picture.
            raise ValueError(
                f"the tokenizer adds {tokenizer.convert_ids_to_tokens(around)} to a text, expected at most its BOS "
                "token: switch add_eos_token off"
            )
        end = answer_ends(template, tokenizer)[0]
        if end.startswith("<") and end not in tokenizer.get_added_vocab():
            raise ValueError(
                f"the template {template} ends an answer with {end}, which is not a token of the tokenizer: no answer "
                "would end. Choose the template that belongs to the language model, or add the token"
            )
        check_marks(template, tokenizer)
        self.tokenizer, self.plan, self.count, self.grid = tokenizer, plan, count, grid
        self.template: TemplateName = template
        self.system, self.max_length, self.overlong = system, max_length, overlong
        self.pad_id = pad
        self._separators: dict[str, int] = {}

    @property
    def stop_ids(self) -> list[int]:
        """Tokens that end an answer."""
        added, ends = self.tokenizer.get_added_vocab(), answer_ends(self.template, self.tokenizer)
        stops: set[int | None] = {self.tokenizer.eos_token_id, *(added[end] for end in ends if end in added)}
        return sorted(stop for stop in stops if stop is not None)

    def read(self, source: str | Path | bytes) -> Image | Draft:
        """Read a picture as upright RGB for the plan, which may want a JPEG at a reduced scale only.

        Raises:
            BadImageError: as for `read_image`.
            ValueError: if the plan cannot cut a picture of that size.
        """
        return read_draft(source, self.plan.sharpest) if self.plan.draft else read_image(source)

    def encode(self, pictures: Sequence[Image | Draft | Video], turns: Sequence[Turn], *, key: str = "") -> Sample:
        """Encode a conversation for training: it ends with an answer.

        Args:
            pictures: RGB, in the order of their `<image>`, as `read` or `read_image` return them; a video has one.
            turns: an optional system turn, then user and assistant alternating.
            key: the sample's name in messages.

        Raises:
            ValueError: if a picture is not RGB, or the conversation cannot be rendered, is too long, or has no
                supervised tokens; the message begins with `key`.
        """
        return self._sample(pictures, turns, key, None, open_ended=False)

    def encode_prompt(
        self,
        pictures: Sequence[Image | Draft | Video],
        turns: Sequence[Turn],
        *,
        key: str = "",
        like: Sample | None = None,
    ) -> Sample:
        """Encode a conversation to be answered: it ends with a question. Arguments and errors are those of `encode`;
        the pictures of `like`, a sample of another question about the same ones, are not cut again."""
        return self._sample(pictures, turns, key, like, open_ended=True)

    def length(self, sizes: Sequence[Size], turns: Sequence[Turn], *, open_ended: bool = False, key: str = "") -> int:
        """Tokens of the sample that `encode` (`encode_prompt` if `open_ended`) makes of pictures of these sizes."""
        return len(self._sequence(sizes, turns, key, open_ended=open_ended)[1])

    def measure(self, sizes: Sequence[Size], turns: Sequence[Turn]) -> Measure:
        """Measure the sample that `encode` makes of pictures of these sizes, without the pictures.

        Exchanges that `encode` drops are not counted, and not logged here.

        Raises:
            ValueError: as for `encode`.
        """
        _, ids, labels = self._sequence(sizes, turns, "", open_ended=False, quiet=True)
        return Measure(len(ids), ids.count(IMAGE_TOKEN_ID), len(labels) - labels.count(IGNORE_INDEX))

    def collate(self, samples: Sequence[Sample], *, side: Literal["right", "left"] = "right") -> Batch:
        """Collate samples into a batch, padded on the right for training, on the left for generation.

        Raises:
            ValueError: if there is no sample.
        """
        return collate_padded(samples, self.pad_id, side)

    def collate_packed(self, rows: Sequence[Sequence[Sample]], length: int) -> Batch:
        """Collate samples into rows of `length` tokens, for training. Errors are those of `collate_rows`."""
        return collate_rows(rows, length, self.pad_id)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of an answer's ids, without special tokens or surrounding whitespace."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _sample(
        self,
        pictures: Sequence[Image | Draft | Video],
        turns: Sequence[Turn],
        key: str,
        like: Sample | None,
        *,
        open_ended: bool,
    ) -> Sample:
        try:
            shown, given, turns = framed(pictures, turns, whole=self.plan.frames is not None)
        except ValueError as error:
            raise ValueError(f"{key}: {error}" if key else str(error)) from error
        sizes, ids, labels = self._sequence(given, turns, key, open_ended=open_ended)
        views = like.views if like and like.sizes == sizes else cut_views(self.plan, shown, sizes)
        positions = None if self.grid is None else grid_positions(ids, map(self.grid, sizes))
        return Sample(torch.tensor(ids), torch.tensor(labels), views, key, sizes, positions)

    def _sequence(
        self, sizes: Sequence[Size], turns: Sequence[Turn], key: str, *, open_ended: bool, quiet: bool = False
    ) -> tuple[tuple[Size, ...], list[int], list[int]]:
        """Sizes in company, ids and labels with all placeholders; if `quiet`, dropped exchanges are not logged."""
        where = f"{key}: " if key else ""
        try:
            check_turns(turns, len(sizes), open_ended=open_ended)
            company = self.plan.in_company(sizes)
            pictures = [self.ids_before(number) + self.picture_ids(size) for number, size in enumerate(company)]
            drops = self.overlong == "drop_turns" and not open_ended

            def encode(kept: Sequence[Turn]) -> tuple[list[int], list[int]]:
                return self._encoded(kept, pictures)

            (ids, labels), dropped = longest_fitting(turns, encode) if drops else (encode(turns), 0)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
        if dropped and not quiet:
            logger.warning("%sleft out the last %d of %d turns to fit", where, dropped, len(turns))
        if not open_ended and all(label == IGNORE_INDEX for label in labels):
            raise ValueError(f"{where}nothing in the sample is supervised: its answers have no tokens")
        return company, ids, labels

    def _encoded(self, turns: Sequence[Turn], pictures: list[list[int]]) -> tuple[list[int], list[int]]:
        segments = prompt_segments(turns, self.template, self.tokenizer, system=self.system)
        check_characters(segments, self.max_length, lambda: self._longest_token)
        read = tokenize(segments, self.tokenizer, add_special_tokens=self.template != CHAT)
        ids, labels = expanded(*read, pictures, together=self.plan.enclose_together)
        if len(ids) > self.max_length:
            raise TooLongError(
                f"the sample has {len(ids)} tokens ({ids.count(IMAGE_TOKEN_ID)} of them visual), the limit is "
                f"{self.max_length}: raise max_length, use smaller pictures or shorten the text"
            )
        return ids, labels

    @cached_property
    def _longest_token(self) -> int:
        """Characters of the longest token. A token that stands for bytes is written with at least one for each."""
        return max(map(len, self.tokenizer.get_vocab()))

    def ids_before(self, number: int) -> list[int]:
        """The ids that the plan puts before picture `number` of a conversation, counted from 0.

        Raises:
            ValueError: if the tokenizer lacks one of them.
        """
        return [self._separator(text) for text in self.plan.before(number)]

    def picture_ids(self, size: Size) -> list[int]:
        """The ids that represent a picture of the given size: placeholders and separators.

        Raises:
            ValueError: if the parts of the model cannot process such a picture, or the tokenizer lacks a separator.
        """
        ids: list[int] = []
        for item in self.count(size):
            ids += [IMAGE_TOKEN_ID] * item if isinstance(item, int) else [self._separator(item)]
        return ids

    def _separator(self, text: str) -> int:
        if text not in self._separators:
            self._separators[text] = separator_id(text, self.tokenizer)
        return self._separators[text]
