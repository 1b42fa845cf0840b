"""Render conversations as text, with the supervised parts marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PLACEHOLDER = "<image>"
Role = Literal["system", "user", "assistant"]
TemplateName = Literal["plain", "vicuna_v1", "llama_2", "chatml", "phi3", "vary", "vary_tiny"]


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


@dataclass(frozen=True)
class Template:
    """The fixed texts around turns. `{bos}` and `{eos}` are the tokenizer's BOS and EOS tokens.

    A prompt is `before_system` system `after_system`, then for every exchange `before_user` user `after_user` and
    `header` `before_answer` answer `after_answer` `between`. Only answers with `before_answer` and `after_answer` are
    supervised. After a system text, `before_first_user` replaces `before_user` in the first user turn.

    Attributes:
        picture_first: whether a single picture moves to the front of its turn, on a separate line.
        shows_user: whether the user's text is shown. Otherwise only the positions of pictures are, there is no system
            text, and a conversation has one exchange.
        answer_apart: whether answers are tokenised separately. Otherwise blank lines at the start of an answer may
            merge with the template's newline into one token, and the prompt is no prefix of the training sequence.
    """

    system: str
    before_system: str
    after_system: str
    before_first_user: str
    before_user: str
    after_user: str
    header: str
    before_answer: str
    after_answer: str
    between: str
    picture_first: bool = True
    shows_user: bool = True
    answer_apart: bool = False


TEMPLATES: dict[TemplateName, Template] = {
    # Stage 1 of LLaVA: the picture and its caption, nothing else; the user's text is not shown.
    "plain": Template("", "", "", "", "", "", "", "", "\n", "", shows_user=False),
    "vicuna_v1": Template(
        system="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        before_system="",
        after_system=" ",
        before_first_user="USER: ",
        before_user="USER: ",
        after_user=" ",
        header="ASSISTANT:",
        before_answer=" ",
        after_answer="{eos}",
        between="",
    ),
    "llama_2": Template(
        system="You are a helpful language and vision assistant. You are able to understand the visual content that "
        "the user provides, and assist the user with a variety of tasks using natural language.",
        before_system="[INST] <<SYS>>\n",
        after_system="\n<</SYS>>\n\n",
        before_first_user="",
        before_user="{bos}[INST] ",
        after_user=" [/INST]",
        header="",
        before_answer=" ",
        after_answer=" {eos}",
        between="",
    ),
    "chatml": Template(
        system="You are a helpful assistant.",
        before_system="<|im_start|>system\n",
        after_system="<|im_end|>\n",
        before_first_user="<|im_start|>user\n",
        before_user="<|im_start|>user\n",
        after_user="<|im_end|>\n",
        header="<|im_start|>assistant\n",
        before_answer="",
        after_answer="<|im_end|>",
        between="\n",
    ),
    # DeepStack with Phi-3 (arXiv 2406.04334); the system text is the release's.
    "phi3": Template(
        system="You are a helpful AI assistant.",
        before_system="<|system|>\n",
        after_system="<|end|>\n",
        before_first_user="<|user|>\n",
        before_user="\n<|user|>\n",
        after_user="<|end|>\n",
        header="<|assistant|>\n",
        before_answer="",
        after_answer="<|end|>",
        between="",
    ),
    # Vary-base and Vary-toy with Qwen (arXiv 2312.06109): ChatML whose turns end without a newline.
    "vary": Template(
        system="You should follow the instructions carefully and explain your answers in detail.",
        before_system="<|im_start|>system\n",
        after_system="<|im_end|>",
        before_first_user="<|im_start|>user\n",
        before_user="<|im_start|>user\n",
        after_user="<|im_end|>",
        header="<|im_start|>assistant\n",
        before_answer="",
        after_answer="<|im_end|>",
        between="",
        picture_first=False,
        answer_apart=True,
    ),
    # Stage 1 of Vary: a page and its text. At inference the reference omits the newline, although it was trained only
    # on texts after one.
    "vary_tiny": Template(
        "", "", "", "", "", "\n", "", "", "\n{eos}", "", picture_first=False, shows_user=False, answer_apart=True
    ),
}


def find_template(name: str) -> Template:
    """The template with the given name.

    Raises:
        ValueError: if there is none.
    """
    for known, template in TEMPLATES.items():
        if known == name:
            return template
    raise ValueError(f"there is no prompt template {name!r}: {', '.join(TEMPLATES)}")


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
    # The first turn needs no separator from a turn before it.
    opening = template.before_user.removeprefix("{bos}").removeprefix("\n")
    if system:
        opening = template.before_system + system + template.after_system + template.before_first_user
    segments = []
    for position, turn in enumerate(spoken):
        if turn.role == "user":
            before = opening if position == 0 else template.before_user
            text = _picture_first(turn.text) if template.picture_first else turn.text
            segments.append(Segment(fixed(before) + text + fixed(template.after_user + template.header)))
        else:
            text = fixed(template.before_answer) + turn.text + fixed(template.after_answer)
            segments.append(Segment(text, supervised=True, apart=template.answer_apart))
            segments.append(Segment(template.between))
    return [segment for segment in segments if segment.text]


def _picture_first(text: str) -> str:
    """Move a single picture before the text, on a separate line, as in LLaVA-1.5's training; several stay in place."""
    if text.count(PLACEHOLDER) != 1 or text == PLACEHOLDER:
        return text
    return f"{PLACEHOLDER}\n{text.replace(PLACEHOLDER, '').strip()}".strip()
