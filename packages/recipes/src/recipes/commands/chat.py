"""Questions and answers in a terminal or through a pipe."""

import argparse
import io
import json
import os
import sys
from pathlib import Path

from foveal.core import Size
from foveal.models import VisionLanguageModel, generate
from recipes.answering.conversation import Conversation, Picture
from recipes.answering.interrupt import interruptible
from recipes.answering.model import opened, takes_graphs
from recipes.command_line.console import calm, interrupts_end, short_errors
from recipes.reading.pictures import picture_at, read_picture

HELP = """\
Every line is a question. Commands:
  /image PATH   add a picture to the next question
  /reset        forget the conversation and its pictures
  /save PATH    write the conversation as JSON, in LLaVA's format
  /help         this list
  /quit         end, like Ctrl-D
Ctrl-C stops an answer. <image> in a question places its pictures; otherwise they come first."""


def main(options: argparse.Namespace) -> None:
    """Chat until the standard input ends.

    Args:
        options: as `chat_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input, with 130 on an interrupt, except while answering in a terminal.
    """
    calm()
    if isinstance(sys.stdin, io.TextIOWrapper):
        # A line that is not UTF-8 is refused alone, not together with all that follow.
        sys.stdin.reconfigure(errors="surrogateescape")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    with interrupts_end(), short_errors():
        pictures = [_read(path) for path in options.images]
        model = opened(options, [Size.of(picture.image.size) for picture in pictures], "")
        options.cuda_graphs = takes_graphs(model, options)
        conversation = Conversation(model.processor.template)
        conversation.waiting += pictures
        _talk(model, conversation, options)


def _talk(model: VisionLanguageModel, conversation: Conversation, options: argparse.Namespace) -> None:
    """Process lines from the standard input until it ends; an error is printed, and the next line is read."""
    if not conversation.has_turns:
        _say(
            f"The template {conversation.template} has no turns: each question is independent, and the model sees only "
            "its pictures."
        )
    if _at_terminal():
        _enable_line_editing()
        for picture in conversation.waiting:
            _confirm(picture)
        _say("Ask. /help lists the commands, Ctrl-D ends.")
    # input() would also write its prompt into a pipe.
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
    """Print the answer as it is generated; of an interrupted one, keep what was shown."""
    pictures, turns = conversation.prompt(question)
    shown: list[str] = []

    try:
        with interruptible() as check:

            def show(text: str) -> None:
                check()
                shown.append(text)
                print(text, end="", flush=True)

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
        raise ValueError(f"{error}; /reset starts a new conversation") from error
    print(flush=True)
    conversation.keep(question, answer)


def _obey(line: str, conversation: Conversation) -> bool:
    """Run a command; return whether to continue."""
    name, _, rest = line.partition(" ")
    # Terminals put quotes around the name of a file dropped on them.
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
                _say(f"error: {line!r} is not a command; /help lists them")
    except OSError as error:
        _say(f"error: {error}")
    return True


def _read(path: Path) -> Picture:
    return Picture(path.resolve(), read_picture(picture_at(path)))


def _save(conversation: Conversation, path: Path) -> None:
    """Write the conversation; refuse to overwrite a file that it was not saved to before."""
    target = path.resolve()
    if target.suffix != ".json":
        raise ValueError(f"{path}: the file name must end in .json")
    if target.exists() and target != conversation.file:
        raise ValueError(f"{path} exists: choose another name")
    records = conversation.records(target.stem, target.parent)
    target.write_bytes((json.dumps(records, ensure_ascii=False, indent=2) + "\n").encode())
    conversation.file = target
    if _at_terminal():
        _say(f"Saved to {path}.")
    if not conversation.lies_in(target.parent):
        _say(f"The pictures are elsewhere: to train on {path}, give --data.images {target.anchor}")


def _confirm(picture: Picture) -> None:
    _say("{}, {} x {} pixels: with the next question.".format(picture.path.name, *picture.image.size))


def _say(message: str) -> None:
    """Print a message to the standard error; only answers go to the standard output."""
    print(message, file=sys.stderr, flush=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _enable_line_editing() -> None:
    """Enable arrow keys for `input`, where the platform has readline."""
    try:
        import readline  # noqa: F401  # importing it is enough
    except ImportError:
        return
