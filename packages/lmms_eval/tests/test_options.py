"""Options of `--model_args`."""

import pytest

from foveal.lmms_eval.options import Options


def test_as_lmms_eval_passes_them():
    options = Options.of({"checkpoint": "run", "batch_size": "4", "device": None, "allow_import": "[mine,a.b]"})
    assert options == Options("run", batch_size=4, allow_import=("mine", "a.b"))
    assert Options.of({"checkpoint": "run", "allow_import": "mine"}).allow_import == ("mine",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "checkpoint is missing"),
        ({"checkpoint": "run", "pretrained": "x"}, "there is no pretrained; the model foveal takes checkpoint, base"),
        ({"checkpoint": 7}, "checkpoint was read as 7.*./NAME"),
        ({"checkpoint": "run", "quantize": "4bit"}, "quantize is '4bit', not one of nf4"),
        ({"checkpoint": "run", "plan": "big"}, "plan is 'big', not one of uhd_release_evaluation"),
        ({"checkpoint": "run", "template": True}, "template is True, not one of"),
        ({"checkpoint": "run", "on_bad_sample": "drop"}, "not one of raise, skip"),
        ({"checkpoint": "run", "cuda_graphs": "yes"}, "cuda_graphs is 'yes'"),
        ({"checkpoint": "run", "allow_import": "a b"}, "allow_import has 'a b'"),
        ({"checkpoint": "run", "batch_size": "auto"}, "--batch_size is 'auto'"),
        ({"checkpoint": "run", "batch_size": 0}, "--batch_size is 0"),
    ],
)
def test_a_wrong_option(given, message):
    with pytest.raises(ValueError, match=message):
        Options.of(given)


def test_each_process_has_its_own_device(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [str(Options("run", device=name).own_device()) for name in ("cuda", "cuda:1", "cpu")] == [
        "cuda:3",
        "cuda:1",
        "cpu",
    ]
