"""What a request for a chat completion may say.

The names are those of OpenAI's API (platform.openai.com/docs/api-reference/chat/create). A parameter that would change
the answer and is not supported is refused by name, unless it has the value that changes nothing.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ONLY = {
    "n": "1",
    "frequency_penalty": "0",
    "presence_penalty": "0",
    "logprobs": "false",
    "logit_bias": "{}",
    "response_format": "text",
    "tools": "[]",
    "tool_choice": "none",
    "store": "false",
}
"""What would change the answer but is not supported, and the value that changes nothing."""
MOST_STOPS, LONGEST_STOP = 4, 200
MOST_MESSAGES = 1000
Nothing = Annotated[list[Any], Field(max_length=0)]


class Strict(BaseModel):
    """Takes no other names, and converts no values."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Strict):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageUrl(Strict):
    """Where a picture is; the model's plan decides how much of it is seen, so `detail` cannot be low."""

    url: str
    detail: Literal["auto", "high"] = "auto"


class PicturePart(Strict):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Part = Annotated[TextPart | PicturePart, Field(discriminator="type")]
Content = Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]


class Message(Strict):
    """One side's message. Clients send earlier answers back with names that are empty here."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    refusal: None = None
    annotations: Nothing | None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ResponseFormat(Strict):
    """The only format."""

    type: Literal["text"]


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


StopText = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]
Stop = Annotated[
    Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None,
    BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None),
]
Tokens = Annotated[int, Field(ge=1)]


class ChatRequest(Strict):
    """A request for a chat completion."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Stop = None
    # They change nothing here.
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    # Not supported: only the values that change nothing.
    n: Literal[1] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logprobs: Literal[False] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    store: Literal[False] | None = None
