"""Processes that answer together: they part before anything is scored, and end when torchrun has been killed."""

import argparse
import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from recipes.command_line.benchmarks import path_of
from recipes.commands import evaluate
from recipes.evaluation import ranks
from recipes.evaluation.ranks import Ranks


@pytest.mark.parametrize("rank", [0, 1])
def test_scores_are_computed_by_the_first_process_alone(rank, tmp_path, monkeypatch):
    together, scored = [], []

    class Together(Ranks):
        def total(self, number):
            return number

    @contextmanager
    def started():
        together.append(rank)
        yield Together(rank, 2)
        together.clear()

    monkeypatch.setattr(evaluate, "ranks", started)
    monkeypatch.setattr(evaluate, "write_results", lambda *given: scored.append((list(together), given[-1])))
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "0", "answer": "a"}) + "\n")
    options = argparse.Namespace(benchmark=path_of("pages"), allow_import=[], data=None, limit=1, prompts="llava")
    options.on_bad_sample, options.output, options.answers = "raise", tmp_path, tmp_path / "a.jsonl"
    options.max_new_tokens = None
    evaluate.main(options)
    assert scored == ([] if rank else [([], Path(tmp_path))])


def test_a_process_without_torchrun_ends(monkeypatch):
    parents, ended = iter([7, 7, 1]), []
    monkeypatch.setattr(ranks, "WATCHED", 0)
    monkeypatch.setattr(ranks.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(ranks.os, "_exit", ended.append)
    ranks._end_after(7)
    assert ended == [1]
    assert not list(parents)
