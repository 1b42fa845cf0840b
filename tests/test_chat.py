"""Conversations through a pipe and at a terminal, as processes, or in this process where that is enough."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama, save
from recipes import chat as command
from recipes.answering import model as answering
from recipes.commands import chat as dialogue
from recipes.data.index.open_records import open_records

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "TERM": "dumb"}


def parrot(**options):
    """A model that answers "a a a ..." up to the limit; a picture is one token."""
    tokenizer = byte_tokenizer()
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=1, heads=2, mlp_width=16, context=100_000),
        tokenizer,
        PadToSquare(16),
        **({"system": ""} | options),
    )
    letter, space = tokenizer.convert_tokens_to_ids(["a", "Ġ"])
    language_model = model.language_model
    with torch.no_grad():
        # The layer adds nothing, so the next token depends only on the last one: "a" after any but "a".
        language_model.model.layers[0].self_attn.o_proj.weight.zero_()
        language_model.model.layers[0].mlp.down_proj.weight.zero_()
        tokens, words = language_model.model.embed_tokens.weight, language_model.lm_head.weight
        tokens.zero_()[:, 0] = 1.0
        tokens[letter, 0], tokens[letter, 1] = 0.0, 1.0
        words.zero_()
        words[letter, 0] = words[space, 1] = 1.0
    return model


@pytest.fixture
def chat(tmp_path):
    """Runs `python -m recipes.chat` in the test's own folder, with these lines on its standard input."""

    def run(*arguments, typed=b"", code=0):
        words = [sys.executable, "-m", "recipes.chat", *map(str, arguments)]
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, input=typed, capture_output=True, check=False)
        output, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == code, output[-3000:] + errors[-3000:]
        return output.splitlines(), errors.splitlines()

    return run


@pytest.fixture
def chat_here(tmp_path, monkeypatch, capsys):
    """The same with a model that is not loaded, and without a process."""

    def run(model, *arguments, typed):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(answering, "load", lambda folder, **_: model)
        monkeypatch.setattr(sys, "argv", ["chat", "--checkpoint", "here", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        # What it silences would stay silenced for other tests.
        monkeypatch.setattr(dialogue, "calm", lambda: None)
        command.main()
        done = capsys.readouterr()
        return done.out.splitlines(), done.err.splitlines()

    return run


def lines(*given):
    """The records as they are in a file."""
    return b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in given)


@pytest.fixture
def pages(tmp_path):
    for name in ("a.png", "b.png", "my page.png"):
        Image.new("RGB", (20, 12)).save(tmp_path / name)


@pytest.mark.slow
def test_through_a_pipe(chat, pages, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "taken.json").write_text("[]")
    typed = lines(
        *("Which of them?", "", "/image 'my page.png'", "And this?"),
        *("/image notes.txt", "/image none.png", "/image " + "a" * 300, b"caf\xe9?", "/picture a.png", "/save"),
        *("/save taken.json", "/save first.txt", "/save first.json", "/etc/hosts is a file?", "/save first.json"),
        *("/reset", "/save second.json", "Hello?", "/save first.json", "/save second.json", "/quit", "Too late."),
    )
    folder = save(parrot(), tmp_path / "checkpoint")
    output, errors = chat("a.png", "--checkpoint", folder, "b.png", "--max_new_tokens", "4", typed=typed)
    assert [line.strip() for line in output] == ["a a"] * 4
    expected = [
        "notes.txt: not a picture",
        "none.png: there is no such file",
        "File name too long",
        "not UTF-8",
        "'/picture a.png' is not a command",
        "'/save' is not a command",
        "taken.json exists",
        "first.txt: the file name must end in .json",
        "no answer to save",
        "first.json exists",
    ]
    assert len(errors) == len(expected), errors
    for line, words in zip(errors, expected, strict=True):
        assert line.startswith("error: ")
        assert words in line
    assert (tmp_path / "taken.json").read_text() == "[]"
    (first,) = open_records(tmp_path / "first.json")
    assert [path.name for path in first.images] == ["a.png", "b.png", "my page.png"]
    assert [turn.text for turn in first.turns] == [
        *("<image>\n<image>\nWhich of them?", "a a"),
        *("<image>\nAnd this?", "a a"),
        *("/etc/hosts is a file?", "a a"),
    ]
    (second,) = open_records(tmp_path / "second.json")
    assert not second.images
    assert [turn.text for turn in second.turns] == ["Hello?", "a a"]


def test_without_cuda_graphs_where_there_are_none(chat_here):
    output, errors = chat_here(parrot(), "--cuda_graphs", "--max_new_tokens", "4", typed=lines("Hello?"))
    assert [line.strip() for line in output] == ["a a"]
    assert errors == ["Decoding without CUDA graphs: the model is on the cpu, not on a CUDA device."]


def test_a_conversation_that_became_too_long(chat_here, pages, tmp_path):
    """One token for the beginning, 2 for the picture and its line, 23 up to an answer, 5 for it: 26, then 54."""
    typed = lines("Hello?", "Hello?", "/reset", "Hello?")
    output, errors = chat_here(parrot(max_length=53), "a.png", "--max_new_tokens=3", typed=typed)
    assert output == ["a a"] * 2
    (line,) = errors
    assert "has 54 tokens (1 of them visual), the limit is 53" in line
    assert line.endswith("/reset starts a new conversation")


def test_pictures_elsewhere_and_a_template_without_turns(chat_here, pages, tmp_path):
    (tmp_path / "talks").mkdir()
    typed = lines(
        *("Hello?", "/image a.png", "Read.", "Again?", "/image b.png", "Read.", "/save talks/talk.json", "/help")
    )
    output, errors = chat_here(parrot(template="plain"), "--max_new_tokens=9", typed=typed)
    assert [set(line.split()) for line in output[:2]] == [{"a"}] * 2
    assert any("/image PATH" in line for line in output[2:])
    alone, first, second, elsewhere = errors
    assert "plain has no turns: each question is independent" in alone
    assert "pictures only" in first
    assert first == second
    assert elsewhere.endswith(f"--data.images {tmp_path.anchor}")
    records = open_records(tmp_path / "talks" / "talk.json", tmp_path.anchor)
    assert [(record.key, [path.name for path in record.images]) for record in records] == [
        ("talk-1", ["a.png"]),
        ("talk-2", ["b.png"]),
    ]


@pytest.mark.slow
def test_input_that_cannot_be_used(chat, pages):
    message, _ = chat("a.png", "--checkpoint", "nowhere", code=1)[1]
    assert message.startswith("error: there is no folder nowhere")
    # Pictures are read first: the error does not wait for weights.
    message, _ = chat("none.png", "--checkpoint", "nowhere", code=1)[1]
    assert message == "error: none.png: there is no such file"


def test_wrong_usage(chat_here, capsys):
    with pytest.raises(SystemExit, match="2"):
        chat_here(None, "--max_new_tokens=0", typed=b"")
    assert capsys.readouterr().err == "error: --max_new_tokens is 0: it must be at least 1\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_at_a_terminal(tmp_path, pages):
    """Tokens come one by one; Ctrl-C stops an answer but not the conversation, Ctrl-D ends it."""
    folder = save(parrot(), tmp_path / "checkpoint")
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "recipes.chat", "--checkpoint", str(folder), "--max_new_tokens", "90000", "a.png"]
    process = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = ""

    def until(text):
        """The output up to `text`; the rest is left for the next call."""
        nonlocal seen
        deadline = time.monotonic() + 120
        while text not in seen:
            assert time.monotonic() < deadline, f"{text!r} did not come: {seen[-1000:]!r}"
            try:
                seen += os.read(ours, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # the other side was closed
                assert text in seen, seen
        before, _, seen = seen.partition(text)
        return before

    try:
        start = until("> ")
        assert "a.png, 20 x 12 pixels" in start
        assert "/help" in start
        assert "Warning" not in start
        for question in ("What is it?", "And now?"):
            os.write(ours, f"{question}\n".encode())
            until("a a a a a a")
            process.send_signal(signal.SIGINT)
            until("[stopped]")
            until("> ")
        os.write(ours, b"half a li")
        until("half a li")
        process.send_signal(signal.SIGINT)
        until("> ")
        os.write(ours, b"/save talk.json\n")
        until("Saved to talk.json.")
        until("> ")
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    (talk,) = json.loads((tmp_path / "talk.json").read_text())
    assert talk["image"] == "a.png"
    spoken = [turn["value"] for turn in talk["conversations"]]
    assert spoken[::2] == ["<image>\nWhat is it?", "And now?"]
    assert all(set(answer) == {"a", " "} and len(answer) < 90000 for answer in spoken[1::2])
