"""Samples are measured once for a processor."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from foveal.connectors import AdaptivePool
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, Processor, byte_tokenizer
from foveal.models.prompts.token_count import TokenCount
from recipes.data import lengths, parallel
from recipes.data.dataset import RecordQuestions
from recipes.data.index import build
from recipes.data.index.open_records import open_records
from recipes.data.lengths import fingerprint_of, measure, measure_questions


def record(number, **changes):
    talk = [{"from": "human", "value": f"{number}?"}, {"from": "gpt", "value": "a " * number + "."}]
    return {"id": number, "image": "a.png", "conversations": talk} | changes


def processor(max_length=100):
    plan, encoder = PadToSquare(16), VisionTransformer(8, 1, 1, 8, 8, 16, layers=(-1,))
    count = TokenCount(encoder, AdaptivePool(8, 8, rows=1, columns=2), plan)
    return Processor(byte_tokenizer(), plan, count=count, system="", max_length=max_length)


def test_lengths_are_those_of_the_samples_and_are_kept(file, monkeypatch):
    records, ours = open_records(file), processor()
    measured = measure(records, ours)
    for number, (tokens, visual, supervised) in enumerate(measured.numbers):
        sample = ours.encode([Image.new("RGB", (8, 4))] * bool(visual), records.text(number)[1])
        assert (len(sample.input_ids), int((sample.labels >= 0).sum())) == (tokens, supervised)
        assert visual == 2 * len(records.sizes(number))
    monkeypatch.setattr(lengths, "_measured", None)
    assert np.array_equal(measure(records, processor()).tokens, measured.tokens)
    other = processor()
    other.tokenizer.chat_template = "{{ messages }}"
    for another in (processor(max_length=99), other):
        with pytest.raises(TypeError):  # it measures anew
            measure(records, another)


def test_lengths_of_another_version_of_the_code_are_not_taken(file, monkeypatch):
    records, before = open_records(file), fingerprint_of(processor())
    assert fingerprint_of(processor()) == before
    whole = Processor.picture_ids
    monkeypatch.setattr(Processor, "picture_ids", lambda self, size: [*whole(self, size), 1])
    assert fingerprint_of(processor()) != before
    assert measure(records, processor()).numbers[0, 0] > 0
    assert fingerprint_of(Processor(byte_tokenizer(), PadToSquare(16), count=lambda size: [1])) is None


def test_what_does_not_fit_is_known(file):
    file.write_text(json.dumps([record(1), record(60)]))
    records = open_records(file)
    measured = measure(records, processor())
    assert measured.faults.keys() == {1}
    assert measured.faults[1].startswith(f"{file}, record 2 (id 60): the sample has")
    assert measured.tokens.tolist()[1] == 0
    assert measure_questions(RecordQuestions(records), processor()) == {}
    assert measure_questions(RecordQuestions(records), processor(10)).keys() == {0, 1}


@pytest.mark.slow
def test_several_processes_find_the_same(file, monkeypatch):
    file.write_text(json.dumps([record(number) for number in range(1500)]))
    alone = measure(open_records(file), processor())
    shutil.rmtree(open_records(file).folder)
    monkeypatch.setattr(parallel, "FEW", 10)
    monkeypatch.setattr(build, "FEW", 10)
    records = open_records(file)
    together = measure(records, processor())
    assert np.array_equal(alone.numbers, together.numbers)
    assert alone.faults == together.faults != {}
    assert records.sizes(1499) == (Size(8, 4),)
