"""The folder of an evaluation: one evaluation at a time, of one model, and nobody removes what it writes."""

import multiprocessing
import shutil
from types import SimpleNamespace

import pytest
import torch
from packages.recipes.tests.test_evaluation import item
from torch import nn

from recipes.benchmarks.benchmark import Prompt
from recipes.evaluation.answer_files import AnswerPart
from recipes.evaluation.asked import Asked
from recipes.evaluation.folder_lock import only_evaluation
from recipes.evaluation.settings import HASHED, model_hash, template_hash


def holds(folder, held, ends):
    with only_evaluation(folder):
        held.set()
        ends.wait()


def test_two_evaluations_are_not_in_one_folder(tmp_path):
    fork = multiprocessing.get_context("fork")
    held, ends = fork.Event(), fork.Event()
    other = fork.Process(target=holds, args=(tmp_path, held, ends))
    other.start()
    assert held.wait(60)
    with (
        pytest.raises(ValueError, match=r"another evaluation is writing into .*: wait until it has ended"),
        only_evaluation(tmp_path),
    ):
        pass
    other.kill()
    other.join()
    with only_evaluation(tmp_path):
        pass


@pytest.mark.parametrize("remove", ["file", "folder", "replaced"])
def test_answers_are_not_written_into_a_file_that_is_gone(tmp_path, remove):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    part = AnswerPart(folder, 0)
    part.add(item("1"), Asked("prompt", "hash"), "answer")
    if remove == "folder":
        shutil.rmtree(folder)
    else:
        (folder / "answers-0.jsonl").unlink()
    if remove == "replaced":
        (folder / "answers-0.jsonl").write_text("")
    with pytest.raises(OSError, match="somebody has removed it") as raised:
        part.add(item("2"), Asked("prompt", "hash"), "answer")
    assert raised.value.filename == str(folder / "answers-0.jsonl")
    part.close()


def test_another_model_has_another_hash():
    def model(seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 3 * HASHED), nn.BatchNorm1d(2).to(torch.bfloat16))

    first, other = model(1), model(1)
    assert model_hash(first) == model_hash(other) != model_hash(model(2))
    with torch.no_grad():
        other[1].weight[1] += 1
    assert model_hash(first) != model_hash(other)


def test_the_hash_of_a_template_with_a_picture_in_its_prompt():
    class Processor:
        def encode_prompt(self, pictures, turns):
            assert not pictures
            assert "<image>" not in turns[0].text
            return SimpleNamespace(input_ids=torch.tensor([len(turns[0].text)]))

    shown, plain = Prompt("<image>\n{question}"), Prompt("\n{question}")
    assert template_hash(Processor(), shown) == template_hash(Processor(), plain)
