"""Questions and answers in a terminal or through a pipe."""

import argparse
import io
import json
import os
import sys
from pathlib import Path

from foveal.core import Size
from foveal.models import VisionLanguageModel, generate, read_image
from recipes.answering.conversation import Conversation, Picture
from recipes.answering.model import opened, takes_graphs
from recipes.command_line.console import calm, short_errors

HELP = """\
Every line is a question. Commands:
  /image PATH   add a picture to the next question
  /reset        forget the conversation and its pictures
  /save PATH    write the conversation as JSON, in LLaVA's format
  /help         this list
  /quit         end, as Ctrl-D does
Ctrl-C stops an answer. <image> in a question places its pictures; otherwise they stand before it."""


def main(options: argparse.Namespace) -> None:
    """Talk until the standard input ends.

    Args:
        options: as `chat_options` gives them.

    Raises:
        SystemExit: with 1 for an input that cannot be used, with 130 if interrupted while nothing is being answered to
            a terminal.
    """
    calm()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # A line of other bytes is refused by itself, not with all that follow.
        sys.stdin.reconfigure(errors="surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        with short_errors():
            pictures = [_read(path) for path in options.images]
            model = opened(options, [Size.of(picture.image.size) for picture in pictures], "")
            options.cuda_graphs = takes_graphs(model, options)
            conversation = Conversation(model.processor.template)
            conversation.waiting += pictures
            _talk(model, conversation, options)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _talk(model: VisionLanguageModel, conversation: Conversation, options: argparse.Namespace) -> None:
    """Lines from the standard input until it ends; what cannot be done is said in a line, and the next one is read."""
    if not conversation.has_turns:
        _say(
            f"The template {conversation.template} has no turns: each question stands alone, and the model sees only "
            "its pictures."
        )
    if _at_terminal():
        _enable_line_editing()
        for picture in conversation.waiting:
            _confirm(picture)
        _say("Ask. /help lists the commands, Ctrl-D ends.")
    # input() would write its prompt into a pipe as well.
    prompt = "> " if _at_terminal() and sys.stdout.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
            if line.startswith("/") and line.partition(" ")[0][1:].isalpha():
                if not _obey(line, conversation):
                    return
            elif line:
                _ask(model, conversation, line, options)
        except EOFError:
            if prompt:
                print()
            return
        except KeyboardInterrupt:
            if not _at_terminal():
                raise
            print()
        except ValueError as error:
            _say(f"error: {error}")


def _ask(model: VisionLanguageModel, conversation: Conversation, question: str, options: argparse.Namespace) -> None:
    """The answer as it is generated; what was shown of an interrupted one is kept."""
    pictures, turns = conversation.prompt(question)
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        print(text, end="", flush=True)

    try:
        sample = model.processor.encode_prompt(pictures, turns)
        (answer,) = generate(
            model,
            model.processor.collate([sample], side="left"),
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            cuda_graphs=options.cuda_graphs,
            on_text=show,
        )
    except KeyboardInterrupt:
        if not _at_terminal():
            raise
        answer = "".join(shown)
        print(" [stopped]", end="")
    except ValueError as error:
        raise ValueError(f"{error}; /reset begins a new conversation") from error
    print(flush=True)
    conversation.keep(question, answer)


def _obey(line: str, conversation: Conversation) -> bool:
    """Carry out a command; whether to go on."""
    name, _, rest = line.partition(" ")
    # Terminals put quotes around the name of a file that is dropped on them.
    path = Path(os.path.expanduser(rest.strip().strip("'\"")))
    try:
        match name, bool(rest):
            case "/image", True:
                conversation.waiting.append(_read(path))
                if _at_terminal():
                    _confirm(conversation.waiting[-1])
            case "/save", True:
                _save(conversation, path)
            case "/reset", False:
                conversation.reset()
                if _at_terminal():
                    _say("A new conversation.")
            case "/help", False:
                print(HELP, flush=True)
            case "/quit", False:
                return False
            case _:
                _say(f"error: {line!r} is no command; /help lists them")
    except OSError as error:
        _say(f"error: {error}")
    return True


def _read(path: Path) -> Picture:
    return Picture(path.resolve(), read_image(path))


def _save(conversation: Conversation, path: Path) -> None:
    """Write the conversation; a file that it was not saved to before is left as it is."""
    target = path.resolve()
    if target.suffix != ".json":
        raise ValueError(f"{path}: a conversation's name ends in .json")
    if target.exists() and target != conversation.file:
        raise ValueError(f"{path} exists: choose another name")
    records = conversation.records(target.stem, target.parent)
    target.write_bytes((json.dumps(records, ensure_ascii=False, indent=2) + "\n").encode())
    conversation.file = target
    if _at_terminal():
        _say(f"Saved to {path}.")
    if not conversation.lies_in(target.parent):
        _say(f"Pictures lie elsewhere: to train on {path}, give --data.images {target.anchor}")


def _confirm(picture: Picture) -> None:
    _say("{}, {} x {} pixels: with the next question.".format(picture.path.name, *picture.image.size))


def _say(message: str) -> None:
    """A line that is no answer: answers alone go to the standard output."""
    print(message, file=sys.stderr, flush=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _enable_line_editing() -> None:
    """Arrow keys for `input`, where the platform has readline."""
    try:
        import readline  # noqa: F401  # importing it is all
    except ImportError:
        return
