"""Files of answers: our own, which grow while a model answers, and LLaVA's."""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from foveal.core import whole_file
from foveal.models.prompts.templates import PLACEHOLDER
from recipes.answering.growing_file import lines_of, remove_cut
from recipes.benchmarks.item import Item
from recipes.evaluation.asked import Asked

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

    def add(self, item: Item, asked: Asked, answer: str) -> None:
        """Write an answer.

        Raises:
            OSError: naming the file, such as when its disk is full, or somebody has removed the file.
        """
        self._check_there()
        row = {"id": item.key, "prompt": asked.prompt, "question_hash": asked.hash, "answer": answer}
        line = json.dumps(row, ensure_ascii=False)
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


def written_answers(folder: Path, asked: Mapping[str, Asked]) -> dict[str, str]:
    """The answers of all ranks so far; incomplete last lines, left by killed processes, are removed.

    Args:
        folder: of the evaluation.
        asked: the questions, by key.

    Returns:
        Answers to these questions, by key; those to other questions are left out, as when fewer are asked now.

    Raises:
        ValueError: naming the line that is something else than an answer, or an answer to another question of that key.
        OSError: if a file cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob(PARTS)):
        lines, cut = lines_of(path)
        for where, record in _records(path, lines):
            key, question, answer = (_text(record, name, where) for name in ("id", "question_hash", "answer"))
            if key in asked and question != asked[key].hash:
                raise ValueError(f"{where}: {key!r:.80} was another question then: give another --output")
            if key in asked:
                found[key] = answer
        remove_cut(path, cut)
    return found


def read_answers(path: Path, items: Sequence[Item]) -> dict[str, str]:
    """Answers that somebody has written, to be scored.

    Args:
        path: JSON lines: ours (`id`, `answer`), or LLaVA's (`question_id`, `text`). Where none of LLaVA's ids is that
            of a question, but there is one line for each of them, their order counts; each `prompt` must then hold its
            question, without regard to case.
        items: the questions.

    Returns:
        Answers by the keys of the items.

    Raises:
        ValueError: naming file and line, if a line is no answer, an answer belongs to no question, or two to one.
        OSError: if the file cannot be read.
    """
    keys = {item.key for item in items}
    rows = []
    for where, record in _records(path, path.read_bytes().splitlines()):
        if "question_id" in record:
            rows.append(_Given(where, str(record["question_id"]), _text(record, "text", where), record.get("prompt")))
        else:
            rows.append(_Given(where, _text(record, "id", where), _text(record, "answer", where)))
    prompted = all(isinstance(row.prompt, str) for row in rows)
    if len(rows) == len(items) and prompted and keys.isdisjoint(row.key for row in rows):
        found = dict(_in_order(rows, items))
        sys.stderr.write(f"{path}: its ids are not those of the questions; their order is taken\n")
        return found
    found = {}
    for row in rows:
        if row.key not in keys or row.key in found:
            known = f"is no question of this benchmark ({len(keys)} questions)"
            raise ValueError(f"{row.where}: {row.key!r:.80} {'is answered twice' if row.key in found else known}")
        found[row.key] = row.answer
    return found


class _Given(NamedTuple):
    """A line of answers that somebody has written."""

    where: str
    key: str
    answer: str
    prompt: Any = None


def _in_order(rows: Sequence[_Given], items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    for item, row in zip(items, rows, strict=True):
        question = str(item.values.get("question", "")).strip()
        if not question or question.lower() not in row.prompt.lower():
            raise ValueError(
                f"{row.where}: its id is that of no question, and its prompt, {row.prompt!r:.80},\n"
                f"is not about {question!r:.80}: answers must be in the order of the questions ({item.where})"
            )
        yield item.key, row.answer


def write_llava_answers(
    path: Path, items: Sequence[Item], asked: Mapping[str, Asked], answers: Mapping[str, str], *, model: str
) -> None:
    """Write answers in the format of LLaVA's evaluation scripts (llava/eval/model_vqa.py); missing ones are left out.

    Args:
        path: JSON lines.
        items: the questions.
        asked: as they were asked, by key.
        answers: by key.
        model: name of the model.

    Raises:
        ValueError: if another process is writing the file.
        OSError: if it cannot be written.
    """
    with whole_file(path) as file, file.open("w", encoding="utf-8") as stream:
        for item in items:
            if item.key in answers:
                prompt = asked[item.key].prompt.removeprefix(f"{PLACEHOLDER}\n")
                row: dict[str, Any] = {"question_id": _id(item), "prompt": prompt, "text": answers[item.key]}
                row |= {"answer_id": item.key, "model_id": model, "metadata": {}}
                print(json.dumps(row, ensure_ascii=False), file=stream)


def _id(item: Item) -> Any:
    """The id as the benchmark's file has it, maybe a number: LLaVA's scripts look up either kind."""
    written = item.values.get("id")
    return written if str(written) == item.key else item.key


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
