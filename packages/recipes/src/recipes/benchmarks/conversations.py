"""Questions in conversations of the kinds that training reads, such as LLaVA's."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from foveal.models.prompts.templates import PLACEHOLDER
from recipes.benchmarks.item import Item
from recipes.benchmarks.pictures import ReaderPicture
from recipes.benchmarks.records import Records
from recipes.benchmarks.rows.row import found
from recipes.data.shapes import read_shape
from recipes.reading.open_reader import open_reader


class ConversationRecords(Records):
    """Every question of a conversation is asked alone, about all of its record's pictures; values are `question` and
    `answers`, the one that follows. Where a question has `<image>` for every picture, they stay there.

    Args:
        files: names of the file or folder; the first that is there is read (docs/data.md says which kinds are).
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def items(self, folder: Path) -> Iterator[Item]:
        reader = open_reader(found(folder, self.files), folder)
        for number, where, record in reader.records():
            names, turns = read_shape(record, where)
            base = str(record.get("id", number))
            pictures = tuple(ReaderPicture(name, reader, f"{where}, image") for name in names)
            asked = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
            for count, place in enumerate(asked, start=1):
                key = base if count == 1 else f"{base}#{count}"
                question = turns[place - 1].text
                if question.count(PLACEHOLDER) != len(names):
                    question = question.replace(PLACEHOLDER, "").strip()
                yield Item(key, {"question": question, "answers": [turns[place].text]}, pictures, where=where)
