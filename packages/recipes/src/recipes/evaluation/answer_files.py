"""Files of answers: our own, which grow while a model answers, and LLaVA's."""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from foveal.core import whole_file
from recipes.answering.growing_file import lines_of, remove_cut
from recipes.benchmarks.item import Item

PART = "answers-{rank}.jsonl"
PARTS = PART.format(rank="*")


class AnswerPart:
    """The file to which one rank adds its answers, one line of JSON each, at once.

    Args:
        folder: of the evaluation.
        rank: of this process.

    Raises:
        OSError: if it cannot be written.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._stream = (folder / PART.format(rank=rank)).open("a", encoding="utf-8")

    def add(self, item: Item, prompt: str, answer: str) -> None:
        """Write an answer.

        Raises:
            OSError: naming the file, such as when its disk is full, or somebody has removed the file.
        """
        self._check_there()
        line = json.dumps({"id": item.key, "prompt": prompt, "answer": answer}, ensure_ascii=False)
        try:
            print(line, file=self._stream, flush=True)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._stream.name) from error

    def _check_there(self) -> None:
        """What is written into a file that has been removed is lost without an error."""
        name = self._stream.name
        if not os.path.exists(name) or not os.path.samestat(os.stat(name), os.fstat(self._stream.fileno())):
            raise OSError(errno.ENOENT, "somebody has removed it while answers were written into it", name)

    def close(self) -> None:
        """Close the file."""
        # All that may be left to write is a line of which `add` has told that it cannot be written.
        with suppress(OSError):
            self._stream.close()


def written_answers(folder: Path, prompts: Mapping[str, str]) -> dict[str, str]:
    """The answers of all ranks so far; incomplete last lines, left by killed processes, are removed.

    Args:
        folder: of the evaluation.
        prompts: text of each prompt, by key.

    Returns:
        Answers to these prompts, by key; those to other questions are left out, as when fewer are asked now.

    Raises:
        ValueError: naming the line that is something else than an answer, or an answer to another prompt of that key.
        OSError: if a file cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob(PARTS)):
        lines, cut = lines_of(path)
        for where, record in _records(path, lines):
            key, prompt, answer = (_text(record, name, where) for name in ("id", "prompt", "answer"))
            if key in prompts and prompt != prompts[key]:
                raise ValueError(f"{where}: {key!r:.80} was another question then: give another --output")
            if key in prompts:
                found[key] = answer
        remove_cut(path, cut)
    return found


def read_answers(path: Path, items: Sequence[Item]) -> dict[str, str]:
    """Answers that somebody has written, to be scored.

    Args:
        path: JSON lines: ours (`id`, `answer`), or LLaVA's (`question_id`, `text`). Where LLaVA's ids are not those of
            the questions, but there is one line for each of them, their order counts; each `prompt` must then hold its
            question, without regard to case.
        items: the questions.

    Returns:
        Answers by the keys of the items.

    Raises:
        ValueError: naming file and line, if a line is no answer, an answer belongs to no question, or two to one.
        OSError: if the file cannot be read.
    """
    keys = {item.key for item in items}
    rows, prompts = [], []
    for where, record in _records(path, path.read_bytes().splitlines()):
        prompts.append(record.get("prompt"))
        if "question_id" in record:
            rows.append((where, str(record["question_id"]), _text(record, "text", where)))
        else:
            rows.append((where, _text(record, "id", where), _text(record, "answer", where)))
    named = [key for _, key, _ in rows]
    if len(rows) == len(items) and (len(set(named)) < len(named) or not keys.issuperset(named)):
        for item, (where, _, _), prompt in zip(items, rows, prompts, strict=True):
            question = str(item.values.get("question", "")).strip()
            if isinstance(prompt, str) and question.lower() not in prompt.lower():
                raise ValueError(
                    f"{where}: its id is that of no question, and its prompt, {prompt!r:.80},\n"
                    f"is not about {question!r:.80}: answers must be in the order of the questions ({item.where})"
                )
        sys.stderr.write(f"{path}: its ids are not those of the questions; their order is taken\n")
        return {item.key: text for item, (_, _, text) in zip(items, rows, strict=True)}
    found: dict[str, str] = {}
    for where, key, text in rows:
        if key not in keys or key in found:
            said = "is answered twice" if key in found else f"is no question of this benchmark ({len(keys)} questions)"
            raise ValueError(f"{where}: {key!r:.80} {said}")
        found[key] = text
    return found


def write_llava_answers(
    path: Path, items: Sequence[Item], prompts: Mapping[str, str], answers: Mapping[str, str], *, model: str
) -> None:
    """Write answers in the format of LLaVA's evaluation scripts (llava/eval/model_vqa.py); missing ones are left out.

    Args:
        path: JSON lines.
        items: the questions.
        prompts: text of each prompt, by key.
        answers: by key.
        model: name of the model.

    Raises:
        ValueError: if another process is writing the file.
        OSError: if it cannot be written.
    """
    with whole_file(path) as file, file.open("w", encoding="utf-8") as stream:
        for item in items:
            if item.key in answers:
                row: dict[str, Any] = {"question_id": item.key, "prompt": prompts[item.key], "text": answers[item.key]}
                row |= {"answer_id": item.key, "model_id": model, "metadata": {}}
                print(json.dumps(row, ensure_ascii=False), file=stream)


def _records(path: Path, lines: Sequence[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise ValueError(f"{where}: an object with an answer is expected")
        yield where, record


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}: a text under {key!r} is expected, there are {', '.join(map(str, record)):.200}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where}, {key}: half a character (a lone surrogate), which no file can hold") from error
    return value
