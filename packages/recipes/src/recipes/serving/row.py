"""One answer that grows in a batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.models import Processor
from foveal.models.generation.cuda_graphs import chooser
from recipes.serving.answer_text import AnswerText
from recipes.serving.asked import Asked, Ended
from recipes.serving.responses import Usage


class Row:
    """The answer to one question; passes on its text as it grows.

    Args:
        asked: the question.
        processor: the model's.
        device: of the logits.

    Attributes:
        token: the last token.
        tokens: how many there are.
        choose: samples a token; None: the likeliest is taken.
        end: why the answer is over: stop, length, left or error; empty: it is not.
    """

    def __init__(self, asked: Asked, processor: Processor, device: torch.device) -> None:
        settings = asked.settings
        self.asked, self.token, self.tokens, self.end = asked, processor.pad_id, 0, ""
        self.choose: Callable[[Tensor], Tensor] | None = None
        if settings.temperature > 0:
            generator = torch.Generator(device)
            if settings.seed is None:
                generator.seed()
            else:
                generator.manual_seed(settings.seed)
            self.choose = chooser(settings.temperature, settings.top_p, generator)
        self._text = AnswerText(processor.tokenizer, settings.stops)
        self._stop_ids = frozenset(processor.stop_ids)

    @property
    def over(self) -> bool:
        """Whether no token follows."""
        return bool(self.end)

    def add(self, token: int) -> None:
        """Take the next token."""
        self.token = token
        self.tokens += 1
        if self.asked.left.is_set():
            self.end = "left"
            return
        stops = token in self._stop_ids
        piece = "" if stops else self._text.add(token)
        if stops or self._text.stopped:
            self.end = "stop"
        elif self.tokens == self.asked.settings.max_new_tokens:
            self.end = "length"
        if self.over:
            piece += self._text.end()
        if piece:
            self.asked.put(piece)
        if self.over:
            usage = Usage(len(self.asked.sample.input_ids), self.asked.visual, self.tokens)
            self.asked.put(Ended(self.end, usage))
