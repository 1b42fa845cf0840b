"""Samples that cannot be used, in whole runs of `fit`."""

import json

import pytest
from PIL import Image
from tests.fitting import SEEN, seen, weights

RUN = (
    *("--config=uhd.yaml", "--config=data/llava.yaml", "--controls=false", "--run=run", "--data.path=train.json"),
    *("--data.batch_size=1", "--data.val_batch_size=2", "--data.workers=0", "--trainer.accelerator=cpu"),
    *("--trainer.log_every_n_steps=1", "--trainer.val_check_interval=1.0", "--trainer.enable_progress_bar=false"),
    *("--trainer.max_epochs=2", "--model.max_new_tokens=2"),
)
SKIP = ("--data.on_bad_sample=skip", "--data.max_bad=0.9")


def record(name, image="good.png", answer="12"):
    spoken = [{"from": "human", "value": "<image>\nRead."}, {"from": "gpt", "value": answer}]
    return {"id": name, "image": image, "conversations": spoken}


@pytest.fixture
def data(tmp_path):
    """Three good records; one with damaged pixels, which are found late; one that is too long; one without its file."""
    Image.new("RGB", (40, 24)).save(tmp_path / "good.png")
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-500])
    bad = [record("cut", "cut.jpg"), record("long", answer="9" * 10_000)]
    records = [record("a"), *bad, record("b"), record("c"), record("missing", "missing.png")]
    (tmp_path / "train.json").write_text(json.dumps(records))
    (tmp_path / "late.json").write_text(json.dumps([*records[:2], *records[3:5]]))
    return tmp_path


def test_they_are_left_out_and_counted_in_training_and_validation(fit, data, capsys):
    assert fit(*RUN, *SKIP, *SEEN, "--data.val_path=train.json") == 0, capsys.readouterr().err
    assert seen(data) == {f"{epoch} {key}": 1 for epoch in range(2) for key in "abc"}
    log = (data / "run/run.log").read_text()
    assert "left out: train.json, record 6 (id missing), image: there is no file" in log
    assert "left out of train.json: record 2 (id cut): " in log
    assert "left out: train.json, record 3 (id long): the sample has" in log
    assert "left out 3 of 6 samples of train.json; run.log names each" in log
    assert "left out 1 of 5 samples of train.json" in log  # of the validation, which does not see the long answer


def test_the_order_does_not_depend_on_them(fit, data):
    assert fit(*RUN, *SKIP, *SEEN) == 0
    before = (data / "seen.rank0.txt").read_text().split("\n")
    (data / "seen.rank0.txt").unlink()
    Image.new("RGB", (40, 24)).save(data / "missing.png")
    assert fit(*RUN, *SKIP, *SEEN, "--run=mended") == 0
    after = (data / "seen.rank0.txt").read_text().split("\n")
    assert sum("missing" in line for line in after) == 2
    assert [line for line in after if "missing" not in line] == before


def test_a_resumed_run_is_the_one_that_was_not_interrupted(fit, data):
    assert fit(*RUN, *SKIP) == 0
    stopped = (*SEEN, "--trainer.callbacks.stop_at=[4]", "--run=resumed")
    assert fit(*RUN, *SKIP, *stopped) == 143
    assert fit(*RUN, *SKIP, "--run=resumed", "--ckpt_path=last") == 0
    assert weights(data / "resumed") == weights(data / "run")


@pytest.mark.parametrize("share", ["0.2", None])
def test_too_many_end_the_run(fit, data, capsys, share):
    given = () if share is None else (f"--data.max_bad={share}",)
    assert fit(*RUN, "--data.on_bad_sample=skip", *given, "--data.path=late.json") == 1
    message = capsys.readouterr().err
    assert "of 4 samples of late.json cannot be used, more than" in message
    assert "--data.max_bad" in message


def test_they_are_raised_by_default(fit, data, capsys):
    assert fit(*RUN) == 1
    assert "record 6 (id missing), image: there is no file" in capsys.readouterr().err
    assert fit(*RUN, "--data.path=late.json") == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_rank_of_which_nothing_is_left_keeps_step(command, data):
    """Of two micro-batches at a time often one is blank."""
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=3")
    command("fit", *RUN, *SKIP, *two, "--data.val_path=train.json")
    log = (data / "run/run.log").read_text()
    assert "left out 3 of 6 samples of train.json; run.log names each" in log
