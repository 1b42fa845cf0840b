"""What is raised and what is left out, and how it is counted."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama
from recipes.data.bad_samples import BadSamples, LeftOutCount
from recipes.data.dataset import LeftOut, SampleCollator
from recipes.data.index.open_records import open_records

SKIP_ALL = BadSamples("skip", 1.0)


def talk(answer="12.50", asker="human"):
    return [{"from": asker, "value": "<image>\nRead."}, {"from": "gpt", "value": answer}]


@pytest.fixture
def mixed(tmp_path):
    """One good record, and one of each fault that can be seen before the pixels."""
    Image.effect_noise((96, 32), 50).convert("RGB").save(tmp_path / "good.png")
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "page.png").write_text("<html>404</html>")
    Image.new("1", (10_000, 6_000)).save(tmp_path / "large.png")
    records = [
        {"image": "good.png", "conversations": talk()},
        *({"image": name, "conversations": talk()} for name in ("cut.png", "page.png", "large.png", "missing.png")),
        *({"image": "good.png", "conversations": talk(answer)} for answer in ("", "12\ud83d50", "12\x0050")),
        {"image": "good.png", "conversations": talk(asker="tool")},
    ]
    path = tmp_path / "mixed.json"
    path.write_text(json.dumps([{"id": number} | record for number, record in enumerate(records)]))
    return path


REASONS = (
    "record 2 (id 1), image: ",
    "ends inside of its pixels",
    "record 3 (id 2), image: ",
    "not a picture of a known kind",
    "record 4 (id 3), image: ",
    "more than the limit of 50000000",
    "record 5 (id 4), image: there is no file",
    "record 6 (id 5), conversations: turn 2: the assistant's answer is empty",
)
LATER = (
    "record 7 (id 6), conversations, turn 2: the text has half a character",
    "record 8 (id 7), conversations, turn 2: the text has a NUL",
    "record 9 (id 8), conversations, turn 1: unknown role 'tool'",
)


def test_all_faults_are_raised_together(mixed):
    with pytest.raises(ValueError, match=r"8 of 9 samples of .*mixed\.json cannot be used; mend them") as caught:
        open_records(mixed)
    assert all(reason in str(caught.value) for reason in REASONS)
    assert str(caught.value).splitlines()[-1] == "... and 3 more"


def test_left_out_records_keep_their_places(mixed, caplog):
    with caplog.at_level(logging.WARNING):
        records = open_records(mixed, policy=SKIP_ALL)
    assert [bool(record.fault) for record in records] == [False] + [True] * 8
    assert all(reason in caplog.text for reason in REASONS + LATER)
    Image.new("RGB", (96, 32)).save(mixed.parent / "missing.png")
    mended = open_records(mixed, policy=SKIP_ALL)
    assert records.faults.keys() - mended.faults.keys() == {4}
    assert mended.modality_lengths.tolist() == records.modality_lengths.tolist()
    assert mended.fingerprint == records.fingerprint


def test_too_many_and_all(mixed):
    with pytest.raises(ValueError, match=r"8 of 9 .* cannot be used, more than 50.0%; mend them, or allow more with"):
        open_records(mixed, policy=BadSamples("skip", 0.5))
    mixed.write_text(json.dumps([{"image": "missing.png", "caption": "A cat."}]))
    with pytest.raises(ValueError, match=r"1 of 1 samples of .* cannot be used, so nothing is left:\n.*missing"):
        open_records(mixed, policy=SKIP_ALL)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_what_is_no_share(share):
    with pytest.raises(ValueError, match=r"--data\.max_bad is"):
        BadSamples("skip", share)


def test_each_is_logged_once_and_counted_once_an_epoch(caplog):
    count = LeftOutCount(BadSamples("skip", 0.3), 10, "data.json", known=1)
    with caplog.at_level(logging.WARNING):
        for epoch in range(3):
            assert count.add(["a: damaged"], epoch) == 1
            assert count.add(["a: damaged", "b: damaged"], epoch) == 2
            count.check(2)
        count.conclude()
        count.conclude()
    assert [record.getMessage() for record in caplog.records] == [
        "left out of data.json: a: damaged",
        "left out of data.json: b: damaged",
        "left out 3 of 10 samples of data.json; run.log names each",
    ]
    with pytest.raises(ValueError, match=r"4 of 10 samples of data.json cannot be used, more than 30.0%"):
        count.check(3)


def test_a_batch_of_which_nothing_is_left_adds_nothing():
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
    ).train()
    loss = model.loss(SampleCollator(model.processor)([LeftOut("a: damaged")]))
    assert (loss.total.item(), loss.tokens) == (0.0, 0)
    loss.total.backward()
    gradients = [weight.grad for weight in model.parameters() if weight.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


@given(st.integers(1, 10**7), st.integers(0, 10**7), st.floats(0, 1))
def test_the_limit(samples, bad, share):
    policy = BadSamples("skip", share)
    if bad <= share * samples and bad < samples:
        policy.check(bad, samples, "data.json")
    else:
        with pytest.raises(ValueError, match="cannot be used"):
            policy.check(bad, samples, "data.json")
