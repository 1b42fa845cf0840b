"""Render conversations as text, with the supervised parts marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from foveal.models.prompts.template_texts import find_template

PLACEHOLDER = "<image>"
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """One side's message; `<image>` in a user's text marks the position of a picture."""

    role: Role
    text: str


@dataclass(frozen=True)
class Segment:
    """A piece of a prompt.

    Attributes:
        text: the literal text.
        supervised: whether its tokens are supervised.
        apart: whether it is tokenised separately from the text before it, so that no token spans both.
    """

    text: str
    supervised: bool = False
    apart: bool = False


def with_pictures(question: str, pictures: int) -> str:
    """The question with `pictures` times `<image>` in front, each on a line, unless it already has some."""
    return question if PLACEHOLDER in question else f"{PLACEHOLDER}\n" * pictures + question


def check_turns(turns: Sequence[Turn], pictures: int, *, open_ended: bool) -> None:
    """Refuse a conversation that cannot be rendered.

    Args:
        turns: an optional system turn, then user and assistant alternating.
        pictures: number of pictures in the conversation.
        open_ended: whether it ends with a question to be answered, rather than with a supervised answer.

    Raises:
        ValueError: for turns out of order, an empty answer, `<image>` outside a user's turn or not once per picture.
    """
    spoken = [turn for position, turn in enumerate(turns) if position > 0 or turn.role != "system"]
    for position, turn in enumerate(spoken):
        expected = "user" if position % 2 == 0 else "assistant"
        if turn.role != expected:
            raise ValueError(
                f"turn {position + 1} is the {turn.role}'s, expected the {expected}'s: they must take turns"
            )
        if turn.role == "assistant" and not turn.text.strip():
            raise ValueError(f"turn {position + 1}: the assistant's answer is empty")
    last = "user" if open_ended else "assistant"
    if not spoken or spoken[-1].role != last:
        raise ValueError(f"the conversation must end with a turn of the {last}; it has {len(spoken)} turns")
    placed = sum(turn.text.count(PLACEHOLDER) for turn in spoken if turn.role == "user")
    misplaced = sum(turn.text.count(PLACEHOLDER) for turn in turns if turn.role != "user")
    if misplaced:
        raise ValueError(f"{misplaced} {PLACEHOLDER} outside of the user's turns: pictures belong to questions")
    if placed != pictures:
        raise ValueError(f"{placed} {PLACEHOLDER} in the text, {pictures} pictures: there must be one for each")


def render(turns: Sequence[Turn], name: str, *, bos: str, eos: str, system: str | None = None) -> list[Segment]:
    """Render the conversation as pieces of text; without a last answer, the prompt is left open for it.

    Args:
        turns: checked by `check_turns`.
        name: name of the template.
        bos: the tokenizer's BOS token, inserted literally where a template repeats it.
        eos: the tokenizer's EOS token.
        system: replaces the template's system text; empty: none. A system turn overrides both.

    Raises:
        ValueError: if the template is unknown, or does not show the user and gets more than one exchange.
    """
    template = find_template(name)

    def fixed(text: str) -> str:
        return text.replace("{bos}", bos).replace("{eos}", eos)

    system, spoken = template.system if system is None else system, list(turns)
    if spoken[0].role == "system":
        system = spoken.pop(0).text
    if not template.shows_user:
        if len(spoken) > 2:
            raise ValueError(f"the template {name} takes one question and its answer, not {len(spoken)} turns")
        spoken[0] = Turn("user", PLACEHOLDER * spoken[0].text.count(PLACEHOLDER))
        system = ""
    if template.trims:
        system = system.strip()
    # The first turn needs no separator from a turn before it.
    opening = template.before_user.removeprefix("{bos}").removeprefix("\n")
    if system:
        opening = template.before_system + system + template.after_system + template.before_first_user
    segments = []
    for position, turn in enumerate(spoken):
        said = turn.text.strip() if template.trims else turn.text
        if turn.role == "user":
            before = opening if position == 0 else template.before_user
            text = _picture_first(said) if template.picture_first else said
            text = text.replace(f"{PLACEHOLDER}\n", PLACEHOLDER) if template.picture_inline else text
            segments.append(Segment(fixed(before) + text + fixed(template.after_user + template.header)))
        else:
            text = fixed(template.before_answer) + said + fixed(template.after_answer)
            segments.append(Segment(text, supervised=True, apart=template.answer_apart))
            segments.append(Segment(template.between))
    return [segment for segment in segments if segment.text]


def _picture_first(text: str) -> str:
    """Move a single picture before the text, on a separate line, as in LLaVA-1.5's training; several stay in place."""
    if text.count(PLACEHOLDER) != 1 or text == PLACEHOLDER:
        return text
    return f"{PLACEHOLDER}\n{text.replace(PLACEHOLDER, '').strip()}".strip()
