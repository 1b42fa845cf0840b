"""Answers in a file: a second start of `predict` answers what the first one did not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.answering.answers import line_of, unanswered
from recipes.answering.questions import Question

QUESTIONS = [Question("1", "What?", ()), Question("2", "Größe?\u2028", ()), Question("3", "What?", ())]


def lines(questions):
    return b"".join(line_of(each, "so").encode() + b"\n" for each in questions)


def test_a_new_file(tmp_path):
    assert unanswered(QUESTIONS, tmp_path / "answers.jsonl") == QUESTIONS
    assert not (tmp_path / "answers.jsonl").exists()


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(lines(QUESTIONS))))
def test_killed_at_any_byte(tmp_path_factory, cut):
    output = tmp_path_factory.mktemp("killed") / "answers.jsonl"
    output.write_bytes(lines(QUESTIONS)[:cut])
    left = unanswered(QUESTIONS, output)
    assert left == QUESTIONS[lines(QUESTIONS)[:cut].count(b"\n") :]
    assert output.read_bytes() + lines(left) == lines(QUESTIONS)


@pytest.mark.parametrize(
    "content",
    [
        *(b"{}\n", b"[]\n", b"\xff\n", b"1\n", b"[" * 100_000 + b"\n"),
        b'{"id": "1", "question": "Why?", "answer": "so"}\n',
        b'{"id": [], "question": 1, "answer": "so"}\n',
        b'{"id": "1", "question": "What?"}\n',
        b'{"id": "1", "question": "What?", "answer": null}\n',
    ],
)
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    output = tmp_path / "answers.jsonl"
    output.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"answers\.jsonl, line \d+ is something else than an answer to one of these questions"
    ):
        unanswered(QUESTIONS, output)
    assert output.read_bytes() == content
