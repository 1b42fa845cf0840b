"""From a request to a prompt: its pictures are read, its messages become turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from foveal.core import Size
from foveal.models import BadImageError, Sample, Turn, VisionLanguageModel, image_size
from foveal.models.generation.generate import COLDEST
from foveal.models.prompts.fitting import TooLongError
from foveal.models.prompts.template_texts import shows_user
from foveal.models.prompts.templates import PLACEHOLDER
from foveal.models.views.read_image import MAX_PIXELS
from recipes.reading.pictures import read_for
from recipes.serving.api import ChatRequest, Message, PicturePart
from recipes.serving.asked import Settings
from recipes.serving.errors import TOO_LONG, RefusedError

T = TypeVar("T")
SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class PictureUrl:
    """Where a picture is, and which part of the request says so."""

    url: str
    param: str


def picture_urls(request: ChatRequest) -> list[PictureUrl]:
    """The pictures of a request, in the order of their `<image>`."""
    return [
        PictureUrl(part.image_url.url, f"messages[{number}].content[{place}].image_url.url")
        for number, message in enumerate(request.messages)
        for place, part in enumerate(message.content)
        if isinstance(part, PicturePart)
    ]


def turns_of(messages: Sequence[Message]) -> list[Turn]:
    """The messages as turns; the parts of one are on lines of their own, a picture is `<image>`.

    Raises:
        RefusedError: if a text has `<image>`, a picture is not the user's, or a system message is not the first.
    """
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        lines = []
        for place, part in enumerate(message.content):
            where = f"messages[{number}].content[{place}]"
            if isinstance(part, PicturePart):
                if message.role != "user":
                    raise RefusedError(400, f"{where}: a picture of the {message.role}: give it as user", param=where)
                lines.append(PLACEHOLDER)
            elif PLACEHOLDER in part.text:
                raise RefusedError(
                    400,
                    f"{where}: the text has {PLACEHOLDER}, which stands for a picture here: leave it out",
                    param=where,
                )
            else:
                lines.append(part.text)
        if message.role in SYSTEM and number:
            where = f"messages[{number}].role"
            raise RefusedError(400, f"{where}: a {message.role} message comes first, and once", param=where)
        role = "system" if message.role == "developer" else message.role
        turns.append(Turn(role, "\n".join(lines)))
    return turns


def settings_of(request: ChatRequest, max_new_tokens: int) -> Settings:
    """How the request wants to be answered.

    Args:
        request: as it came.
        max_new_tokens: longest answer, if the request does not say.

    Raises:
        RefusedError: if two of its parameters contradict each other, or the temperature is too small.
    """
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise RefusedError(400, "give max_completion_tokens or max_tokens, not both", param="max_tokens")
    if request.stream_options is not None and not request.stream:
        raise RefusedError(400, "stream_options belong to a request with stream", param="stream_options")
    temperature = request.temperature or 0.0
    if 0 < temperature < COLDEST:
        message = f"temperature is {temperature}: it must be 0, for the likeliest answer, or at least {COLDEST}"
        raise RefusedError(400, message, param="temperature")
    return Settings(
        request.max_completion_tokens or request.max_tokens or max_new_tokens,
        temperature,
        1.0 if request.top_p is None else request.top_p,
        request.seed,
        tuple(request.stop or ()),
    )


def check_number(model: VisionLanguageModel, pictures: int) -> None:
    """Refuse more pictures than a prompt can have tokens, before one is fetched or opened.

    Raises:
        RefusedError: naming both.
    """
    if pictures > (most := _most_tokens(model)):
        message = f"the request has {pictures} pictures, a prompt may have {most} tokens: give fewer"
        raise RefusedError(400, message, param="messages", code=TOO_LONG)


def prompt_of(
    model: VisionLanguageModel, turns: Sequence[Turn], pictures: Sequence[tuple[bytes, str]], max_new_tokens: int
) -> Sample:
    """The prompt of a conversation; its length is known before a picture is decoded.

    Args:
        model: answers it.
        turns: as `turns_of` makes them.
        pictures: encoded pictures, each with the part of the request that has it; their number is checked.
        max_new_tokens: longest answer.

    Raises:
        RefusedError: if a picture or the conversation cannot be used, or prompt and answer are too long.
    """
    processor = model.processor
    if not pictures and not shows_user(processor.template):
        raise RefusedError(400, f"the model's template {processor.template} shows it pictures only: give one")
    try:
        sizes = _sizes(pictures)
        _check_tokens(model, sizes)
        length = processor.length(sizes, turns, open_ended=True)
        context = _context(model)
        if length + max_new_tokens > context:
            message = (
                f"the prompt's {length} tokens and {max_new_tokens} of the answer exceed the model's context of "
                f"{context}: ask for fewer, or use smaller pictures"
            )
            raise RefusedError(400, message, param="messages", code=TOO_LONG)
        read = [_named(partial(read_for, processor), *picture) for picture in pictures]
        return processor.encode_prompt(read, turns)
    except TooLongError as error:
        raise RefusedError(400, str(error), param="messages", code=TOO_LONG) from error
    except ValueError as error:
        raise RefusedError(400, str(error), param="messages") from error


def _sizes(pictures: Sequence[tuple[bytes, str]]) -> list[Size]:
    """The sizes of pictures. The first too many pixels end it: some pictures can only be measured by decoding them.

    Raises:
        RefusedError: if a picture cannot be used, or they have more pixels than one picture may have.
    """
    sizes: list[Size] = []
    pixels = 0
    for picture in pictures:
        sizes.append(_named(image_size, *picture))
        pixels += sizes[-1].area
        if pixels > MAX_PIXELS:
            message = (
                f"the first {len(sizes)} pictures have {pixels} pixels in all, more than the limit of {MAX_PIXELS}: "
                "make them smaller"
            )
            raise RefusedError(400, message, param="messages")
    return sizes


def _check_tokens(model: VisionLanguageModel, sizes: Sequence[Size]) -> None:
    """Refuse pictures with more visual tokens than a prompt may have, before their ids are made, which take memory.

    Raises:
        RefusedError: naming the limit.
    """
    most, tokens = _most_tokens(model), 0
    for number, size in enumerate(model.processor.plan.in_company(sizes)):
        tokens += sum(item for item in model.processor.count(size) if isinstance(item, int))
        if tokens > most:
            message = (
                f"the first {number + 1} pictures have {tokens} visual tokens, a prompt may have {most} tokens: give "
                "fewer, or smaller ones"
            )
            raise RefusedError(400, message, param="messages", code=TOO_LONG)


def _most_tokens(model: VisionLanguageModel) -> int:
    return min(_context(model), model.processor.max_length)


def _context(model: VisionLanguageModel) -> int:
    tokens: int = model.language_model.config.get_text_config().max_position_embeddings
    return tokens


def _named(read: Callable[[bytes], T], data: bytes, param: str) -> T:
    """What `read` makes of a picture; an error names the part of the request that has it."""
    try:
        return read(data)
    except BadImageError as error:
        raise RefusedError(400, f"{param}: {error}", param=param, code="invalid_image") from error
