"""Prompts by name of a template: one of ours, or `chat`, the tokenizer's own chat template."""

import re
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from foveal.models.prompts.template_texts import CHAT, find_template
from foveal.models.prompts.templates import Segment, Turn, render
from foveal.models.prompts.tokenize import separator_id

PROBE = "ANSWER"
"""A text to see what a chat template writes after an answer."""
MARK = re.compile(r"(?<!<)<[\w|]+>(?!>)")
"""What looks like a special token, such as <|im_start|>; in LLaMA 2's templates <<SYS>> is ordinary text."""


def prompt_segments(
    turns: Sequence[Turn], name: str, tokenizer: PreTrainedTokenizerBase, *, system: str | None
) -> list[Segment]:
    """Render a conversation; without a last answer, the prompt is left open for it.

    Args:
        turns: checked by `check_turns`.
        name: name of the template.
        tokenizer: gives BOS and EOS, or the chat template.
        system: replaces the template's system text; empty: none. A system turn overrides both.

    Raises:
        ValueError: as for `render`; or if the chat template refuses the conversation, or if it writes earlier turns in
            another way when a turn is added, and the conversation is to be learnt.
    """
    if name != CHAT:
        return render(turns, name, bos=tokenizer.bos_token or "", eos=tokenizer.eos_token or "", system=system)
    if system and turns[0].role != "system":
        turns = [Turn("system", system), *turns]
    turns = [turn for turn in turns if turn.role != "system" or turn.text]
    if turns[-1].role == "user":
        # Nothing is learnt, so that a template may leave out earlier reasoning, as its makers meant it.
        return [Segment(_rendered(turns, tokenizer, is_open=True))]
    segments, done = list[Segment](), ""
    last = tokenizer.eos_token or ""
    for place, turn in enumerate(turns):
        if turn.role == "system":
            continue
        is_answer = turn.role == "assistant"
        whole = _rendered(turns[: place + 1], tokenizer, is_open=not is_answer)
        if segments and not whole.startswith(done) and whole.startswith(done.removesuffix(last)):
            # Some write EOS after the whole conversation (Phi-4-mini): it does not belong to an earlier answer.
            done = done.removesuffix(last)
            segments[-1] = replace(segments[-1], text=segments[-1].text.removesuffix(last))
        if not whole.startswith(done):
            raise ValueError(
                f"the chat template of {tokenizer.name_or_path or 'the tokenizer'} changes what comes before turn "
                f"{place + 1}, as those do that leave out earlier reasoning: such a conversation cannot be learnt as "
                "one sequence. Use conversations of one question, or another template"
            )
        segments.append(Segment(whole[len(done) :], supervised=is_answer))
        done = whole
    return segments


def answer_ends(name: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """The texts that end an answer with a template, besides EOS; they are tokens only if the tokenizer has them.

    Raises:
        ValueError: if the template is unknown; or for `chat`, if the tokenizer has no chat template, or that refuses a
            question and its answer, or does not write a special token after the answer.
    """
    if name != CHAT:
        template = find_template(name)
        return (template.after_answer.strip(), *template.ends)
    if not tokenizer.chat_template:
        raise ValueError("the tokenizer has no chat template, which the template chat uses: choose another template")
    rendered = _rendered([Turn("user", "?"), Turn("assistant", PROBE)], tokenizer, is_open=False)
    after = rendered.rpartition(PROBE)[2].strip()
    ids = tokenizer(after, add_special_tokens=False)["input_ids"]
    ends = [token for token, number in tokenizer.get_added_vocab().items() if ids and number == ids[0]]
    if not ends:
        raise ValueError(
            f"the tokenizer's chat template ends an answer with {after!r}, which does not begin with a special token: "
            "no answer would end. Choose another template"
        )
    return (ends[0],)


def check_marks(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that would read a mark of the template, such as <|im_start|>, as characters.

    Not checked for `chat`: makers may mean such marks as ordinary text, like Zephyr's <|user|>, and wrote theirs for
    this tokenizer.

    Raises:
        ValueError: if the template is unknown, or such a mark is not a single token.
    """
    if name == CHAT or find_template(name).spelt:
        return
    one = find_template(name)
    before = (one.before_system, one.after_system, one.before_first_user, one.before_user, one.after_user, one.header)
    for mark in dict.fromkeys(MARK.findall("\n".join((*before, one.before_answer, one.after_answer, one.between)))):
        try:
            separator_id(mark, tokenizer)
        except ValueError:
            raise ValueError(
                f"the template {name} writes {mark}, which is not a token of the tokenizer: the model would read its "
                "characters. Choose the template that belongs to the language model, or add the token"
            ) from None


def _rendered(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, is_open: bool) -> str:
    """The conversation by the tokenizer's template, without reasoning; if open, with the header of the next answer."""
    from jinja2 import TemplateError

    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=is_open, enable_thinking=False
            )
        )
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # A template is a small program, and raises what programs raise.
        raise ValueError(f"the tokenizer's chat template refuses the conversation ({error})") from error
