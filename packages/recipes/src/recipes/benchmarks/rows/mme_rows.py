"""MME's folders of pictures and questions."""

from collections.abc import Iterator
from pathlib import Path

from recipes.benchmarks.rows.row import NoFileError, Row, Rows
from recipes.metrics.mme import COGNITION, PERCEPTION

PICTURES = (".jpg", ".png", ".jpeg")
PLACES = (".", "MME_Benchmark_release_version", "MME_Benchmark_release_version/MME_Benchmark")


class MmeRows(Rows):
    """A folder for every subtask: each picture has a text file of the same name, with two lines of a question, a tab,
    and Yes or No. Both are beside each other, or in `images` and `questions_answers_YN`.

    Fields are `category`, `question_id` (subtask and picture), `question`, `answer`, and `image`, the picture's path.
    """

    def rows(self, folder: Path) -> Iterator[Row]:
        place = next((place for place in PLACES if (folder / place / COGNITION[0]).is_dir()), None)
        if place is None:
            raise NoFileError(folder, [f"{PLACES[1]}/{COGNITION[0]}"])
        number = 0
        for subtask in (*PERCEPTION, *COGNITION):
            texts, pictures = _folders(folder / place / subtask)
            files = sorted(texts.glob("*.txt"))
            if not files:
                raise ValueError(f"{texts} has no questions (*.txt)")
            for file in files:
                picture = _picture(pictures, file)
                for where, question, answer in _questions(file):
                    number += 1
                    fields = {"category": subtask, "question_id": f"{subtask}/{picture.name}", "question": question}
                    shown = str(picture.relative_to(folder))
                    yield Row(where, number, fields | {"answer": answer, "image": shown})


def _folders(subtask: Path) -> tuple[Path, Path]:
    """The folders of the questions and of the pictures."""
    apart = subtask / "questions_answers_YN"
    return (apart, subtask / "images") if apart.is_dir() else (subtask, subtask)


def _picture(folder: Path, text: Path) -> Path:
    for suffix in PICTURES:
        if (picture := folder / f"{text.stem}{suffix}").is_file():
            return picture
    raise ValueError(f"{text}: there is no picture {folder / text.stem} with {', '.join(PICTURES)}")


def _questions(file: Path) -> Iterator[tuple[str, str, str]]:
    """Location, question and answer of both lines."""
    lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if len(lines) != 2:
        raise ValueError(f"{file}: two questions are expected, not {len(lines)}")
    for number, line in enumerate(lines, start=1):
        question, tab, answer = line.rpartition("\t")
        if not tab or answer.strip().lower() not in ("yes", "no"):
            raise ValueError(f"{file}, line {number}: a question, a tab, and Yes or No are expected, not {line!r:.100}")
        yield f"{file}, line {number}", question.strip(), answer.strip()
