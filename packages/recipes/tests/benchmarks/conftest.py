"""Writes small files in the layouts of benchmarks, and reads them."""

import csv
import json

import pytest
from packages.recipes.tests.benchmarks.files import encoded, known

from recipes.commands.evaluate import items_of
from recipes.evaluation.scoring import scores_of


@pytest.fixture(scope="session")
def table():
    """The benchmark of a name, read once."""
    return known


@pytest.fixture
def folder(tmp_path):
    """Writes files by their suffix: objects as JSON, lists of objects as JSON lines and tables, shades as pictures."""

    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".jpg", ".png", ".jpeg"):
                path.write_bytes(encoded(content))
            elif path.suffix == ".json":
                path.write_text(json.dumps(content), encoding="utf-8")
            elif path.suffix == ".jsonl":
                path.write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
            elif path.suffix in (".tsv", ".csv"):
                with path.open("w", encoding="utf-8", newline="") as stream:
                    writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
                    writer.writerows([list(content[0]), *(list(each.values()) for each in content)])
            elif path.suffix == ".parquet":
                pa = pytest.importorskip("pyarrow")
                from pyarrow import parquet

                parquet.write_table(pa.Table.from_pylist(content), path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


@pytest.fixture
def ask(folder, table, tmp_path_factory):
    """The items of a benchmark's files. Unless answers are held back, they are scored; servers get what they take."""

    def asked(name, files, held_back=False):
        found, where = table(name), folder(files)
        items = items_of(found, where)
        for item in items:
            assert item.where
            for prompt in found.prompts.values():
                prompt.of(item)
            assert held_back or set(found.update.values()) <= set(item.values)
        if not held_back:
            scores = scores_of(found, items, {item.key: "yes" for item in items})
            assert len(scores.single) == len(items)
        if found.submission is not None:
            path = tmp_path_factory.mktemp("sent") / found.submission.file
            found.submission.write(items, ["yes", *[None] * (len(items) - 1)], path)
            assert path.exists()
        return items

    return asked
