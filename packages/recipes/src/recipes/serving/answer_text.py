"""The text of an answer that grows token by token."""

from collections.abc import Sequence
from typing import Any


class AnswerText:
    """Decodes tokens one by one, and gives the text that cannot change any more.

    All pieces together are what `Processor.decode` gives for all tokens, up to the first stop text.

    Args:
        tokenizer: the language model's.
        stops: texts that end the answer and do not belong to it.

    Attributes:
        stopped: whether a stop text has come; nothing comes after it.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self.tokenizer, self.stops = tokenizer, tuple(stops)
        self.stopped = False
        self._ids: list[int] = []
        # Tokens from `_from` on are decoded, those up to `_read` have been: a token's text depends on the one before.
        self._from = self._read = 0
        self._text, self._given = "", 0

    def add(self, token: int) -> str:
        """The text that is complete with the next token; often none."""
        self._ids.append(token)
        before, after = self._decoded()
        # The last character may lack bytes that the next tokens bring.
        if not after.startswith(before) or after.endswith("\ufffd"):
            return ""
        if len(after) > len(before):
            self._from, self._read = self._read, len(self._ids)
        return self._grown(after[len(before) :])

    def end(self) -> str:
        """The rest, when no token follows."""
        if self.stopped:
            return ""
        before, after = self._decoded()
        given = self._given
        piece = self._grown(after[len(before) :])
        if self.stopped:
            return piece
        # What was held back as the beginning of a stop text is not one.
        self._given = len(self._text.rstrip())
        return self._text[given : self._given]

    def _decoded(self) -> tuple[str, str]:
        """The text of the tokens that were read, and of all, both from the same token on."""
        window = self._ids[self._from :]
        read: str = self.tokenizer.decode(window[: self._read - self._from], skip_special_tokens=True)
        every: str = self.tokenizer.decode(window, skip_special_tokens=True)
        return read, every

    def _grown(self, text: str) -> str:
        # The space before an answer is not part of it.
        self._text += text if self._text else text.lstrip()
        # The one that is complete first, so that it does not matter how the text was cut into tokens.
        ends = [(place + len(stop), place) for stop in self.stops if (place := self._text.find(stop, self._given)) >= 0]
        if ends:
            self.stopped = True
            self._text = self._text[: min(ends)[1]]
            sure = len(self._text)
        else:
            sure = len(self._text) - max((_overlap(self._text, stop) for stop in self.stops), default=0)
        # Whitespace at the end is given when something follows it.
        sure = max(len(self._text[:sure].rstrip()), self._given)
        piece, self._given = self._text[self._given : sure], sure
        return piece


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
