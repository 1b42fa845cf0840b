"""Several files of conversations as one."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Size
from foveal.models import Processor, byte_tokenizer
from foveal.models.views.square import PadToSquare
from recipes.data.bad_samples import BadSamples
from recipes.data.dataset import RecordQuestions
from recipes.data.lengths import measure
from recipes.data.mixture import MixedRecords, open_data


def lines(count, name, image=None):
    talk = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "a " * 5}]
    return "\n".join(
        json.dumps({"id": f"{name}{number}", "image": image, "conversations": talk}) for number in range(count)
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "pictures" / "p.png")
    (tmp_path / "text.jsonl").write_text(lines(10, "t"))
    (tmp_path / "shown.jsonl").write_text(lines(4, "s", "p.png"))
    return tmp_path


def mixed(folder, *sources, policy=BadSamples()):
    path = folder / "mix.yaml"
    path.write_text(json.dumps({"sources": sources}))
    return open_data(path, policy=policy)


TEXT, SHOWN = {"path": "text.jsonl"}, {"path": "shown.jsonl", "images": "pictures"}


def test_records_come_as_often_as_their_weight_says(folder):
    records = mixed(folder, TEXT | {"weight": 0.3}, SHOWN | {"weight": 2.5})
    counts = Counter(record.key for record in records)
    assert len(records) == 3 + 10
    assert all(counts[f"s{number}"] in (2, 3) for number in range(4))
    assert sorted(count for key, count in counts.items() if key[0] == "t") == [1, 1, 1]
    assert (records.modality_lengths > 0).sum() == 10
    assert records.sizes(12) == (Size(8, 4),)
    assert records[12].images == (folder / "pictures" / "p.png",)
    assert records.location(0).startswith(f"{folder}/text.jsonl, line ")
    assert len(RecordQuestions(records)) == 13
    again = pickle.loads(pickle.dumps(records))
    assert list(again) == list(records)
    assert len(pickle.dumps(records)) < 3000


def test_its_identity_is_that_of_its_parts_and_weights(folder):
    first, same = mixed(folder, TEXT, SHOWN), mixed(folder, TEXT, SHOWN | {"weight": 1.0})
    others = mixed(folder, TEXT, SHOWN | {"weight": 1.5}), mixed(folder, SHOWN, TEXT)
    assert first.fingerprint == same.fingerprint
    assert len({each.fingerprint for each in (first, *others)}) == 3


def test_faults_and_lengths_are_those_of_the_parts(folder):
    broken = lines(3, "b", "p.png").replace('"b1", "image": "p.png"', '"b1", "image": "q.png"')
    (folder / "broken.jsonl").write_text(broken)
    sources = (TEXT, {"path": "broken.jsonl", "images": "pictures", "weight": 2})
    with pytest.raises(ValueError, match=r"broken\.jsonl, line 2 \(id b1\), image: there is no file"):
        mixed(folder, *sources)
    records = mixed(folder, *sources, policy=BadSamples("skip", 0.5))
    assert [records.text(number)[0] for number in records.faults] == ["b1", "b1"]
    processor = Processor(byte_tokenizer(), PadToSquare(8), count=lambda size: [3], system="", max_length=70)
    measured = measure(records, processor)
    expected = [0 if number in records.faults else 3 * bool(records.sizes(number)) for number in range(len(records))]
    assert measured.numbers[:, 1].tolist() == expected
    processor.max_length = 20
    assert len(measure(records, processor).faults) == len(records) - 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.2, 5), min_size=1, max_size=3))
def test_the_number_of_records(weights):
    class Ten:
        source, faults, modality_lengths, answers = "ten", {3: "bad"}, np.arange(1, 11), np.ones(10, dtype=int)

        def __len__(self):
            return 10

    records = MixedRecords("mix", [Ten() for _ in weights], weights)
    assert len(records) == sum(int(weight) * 10 + round((weight - int(weight)) * 10) for weight in weights)
    assert all(records.modality_lengths[number] == 4 for number in records.faults)
    assert len(records.faults) == (records.modality_lengths == 4).sum()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"mix\.yaml: a mixture has the key 'sources' alone"),
        ("sources: []", "a mixture has the key 'sources'"),
        ("sources: [text.jsonl]", "source 1: give an object with 'path'"),
        ("sources: [{path: text.jsonl, wieght: 2}]", "source 1: give an object with 'path'.* nothing else"),
        ("sources: [{path: text.jsonl}, {path: 3}]", "source 2: path must be a name, not 3"),
        ("sources: [{path: text.jsonl, weight: 0}]", "weight must be a number above 0 and at most 1000, not 0"),
        ("sources: [{path: text.jsonl, weight: .nan}]", "weight must be a number above 0"),
        ("sources: [{path: text.jsonl, weight: 0.01}]", "a weight of 0.01 leaves none of the 10 records"),
        ("sources: [{path: mix.yaml}]", "mix.yaml is a mixture; name its files here"),
        ("sources: [{path: text.jsonl}, {path: text.jsonl, images: nowhere}]", "source 2: there is no image folder"),
        ("sources: [{path: nowhere.jsonl}]", r"source 1: there is no file or folder .*nowhere\.jsonl"),
        ('sources: [{path: "a\\0b"}]', "source 1: path must be a name"),
        (
            "sources: [{path: text.jsonl}]\nsources: []",
            r"mix\.yaml, line 2: refused \(the key 'sources' is there twice",
        ),
        ("sources: &a [*a]", "mix.yaml"),
    ],
)
def test_mixtures_that_are_refused(folder, text, message):
    (folder / "mix.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        open_data(folder / "mix.yaml")
    assert len(str(caught.value).splitlines()) <= 4


def test_a_mixture_names_its_own_folders(folder):
    (folder / "mix.yaml").write_text(json.dumps({"sources": [TEXT]}))
    with pytest.raises(ValueError, match=r"mix\.yaml is a mixture, which names the folder"):
        open_data(folder / "mix.yaml", folder)
