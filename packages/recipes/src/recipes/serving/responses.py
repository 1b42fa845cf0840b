"""What is answered, in the shapes of OpenAI's chat completions."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Usage:
    """Tokens of a request; OpenAI's API calls visual tokens image tokens.

    Attributes:
        prompt: tokens of the prompt, with visual ones.
        visual: those of pictures among them.
        answer: tokens of the answer.
    """

    prompt: int
    visual: int
    answer: int

    @property
    def content(self) -> dict[str, Any]:
        """As in a response."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
            "prompt_tokens_details": {"text_tokens": self.prompt - self.visual, "image_tokens": self.visual},
        }


@dataclass(frozen=True)
class Reply:
    """The fields that all parts of one response share.

    Attributes:
        model: its name, as in the request.
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, text: str, finish_reason: str, usage: Usage) -> dict[str, Any]:
        """The whole answer at once."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}
        return self._object("chat.completion", [choice]) | {"usage": usage.content}

    def chunk(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        """A piece of a streamed answer."""
        choice = {"index": 0, "delta": dict(delta), "finish_reason": finish_reason, "logprobs": None}
        return event(self._object("chat.completion.chunk", [choice]))

    def last_chunk(self, usage: Usage) -> bytes:
        """The piece of a streamed answer that has the usage."""
        return event(self._object("chat.completion.chunk", []) | {"usage": usage.content})

    def _object(self, kind: str, choices: Sequence[object]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": list(choices),
        }


def event(content: Mapping[str, object]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
