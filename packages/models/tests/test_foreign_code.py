"""Models whose files name code: nothing is imported, fetched or asked for."""

import builtins
import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    PadToSquare,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    load,
    pretrained_language_model,
    pretrained_tokenizer,
    save,
)

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Evil: pass\n"
KERNELS = ["kernels-community/flash-attn2", "someone/else@main:sdpa", "paged|someone/else", "./kernel"]


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    """A question on standard input is an error."""

    def asked(*_arguments):
        raise AssertionError("a question was asked")

    monkeypatch.setattr(builtins, "input", asked)


@pytest.fixture
def folder(tmp_path):
    """A language model with its tokenizer, and a Python file next to them."""
    language_model = llama(260, width=16, depth=1, heads=2, mlp_width=16)
    language_model.save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "evil.py").write_text(EVIL)
    yield tmp_path / "model"
    assert not list(tmp_path.rglob("ran"))
    assert "evil" not in " ".join(sys.modules)


def change(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


MAPS = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("kind", [None, "int8"])
def test_code_that_is_not_needed_is_not_run_and_not_passed_on(folder, tmp_path, device, kind):
    change(folder / "config.json", auto_map=MAPS)
    change(folder / "tokenizer_config.json", auto_map=MAPS)
    if kind is not None:
        pytest.importorskip("bitsandbytes")
    with torch.device(device):
        language_model = pretrained_language_model(str(folder), quantize=kind)
    assert isinstance(language_model, LlamaForCausalLM)
    tokenizer = pretrained_tokenizer(str(folder))
    if device == "cpu" and kind is None:
        language_model.save_pretrained(tmp_path / "again")
        tokenizer.save_pretrained(tmp_path / "again")
        for name in ("config.json", "tokenizer_config.json"):
            assert "auto_map" not in (tmp_path / "again" / name).read_text()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_that_needs_its_code_is_refused(folder, device):
    change(folder / "config.json", model_type="evil", auto_map=MAPS)
    with torch.device(device), pytest.raises(ValueError, match="no code from files is run") as refusal:
        pretrained_language_model(str(folder))
    assert "auto_map" in str(refusal.value)
    assert "trust_remote_code" not in str(refusal.value)


def test_a_tokenizer_that_needs_its_code_is_refused(folder):
    change(folder / "tokenizer_config.json", tokenizer_class="EvilTokenizer", auto_map=MAPS)
    change(folder / "config.json", model_type="evil", auto_map=MAPS)
    with pytest.raises(ValueError, match="no code from files is run"):
        pretrained_tokenizer(str(folder))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "experts_implementation"])
def test_kernels_of_the_hub_are_refused(folder, key, kernel):
    change(folder / "config.json", **{key: kernel})
    with pytest.raises(ValueError, match=f"{key} .*code from the hub"):
        pretrained_language_model(str(folder))
    change(folder / "config.json", **{key: "sdpa"})
    change(folder / "config.json", text_config={key: {"": kernel}})
    with pytest.raises(ValueError, match=f"{key} .*code from the hub"):
        pretrained_language_model(str(folder))


def test_kernels_of_the_library_are_accepted(folder):
    change(folder / "config.json", attn_implementation="eager")
    assert pretrained_language_model(str(folder)).config._attn_implementation == "eager"


def test_the_base_of_adapters_is_not_fetched(folder):
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    with pytest.raises(ValueError, match=r"adapter_config\.json: .*is not fetched"):
        pretrained_language_model(str(folder))


@pytest.mark.parametrize("quantized", [False, True])
def test_shards_stay_in_their_folder(folder, tmp_path, quantized):
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    if quantized:
        change(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(ValueError, match="shards must be in the folder of their index"):
        pretrained_language_model(str(folder))


@pytest.mark.parametrize("place", ["language_model/config.json", "tokenizer/tokenizer_config.json"])
def test_a_checkpoint_that_names_code_is_refused(tmp_path, place):
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
    )
    folder = Path(save(model, tmp_path / "checkpoint"))
    change(folder / place, auto_map={"AutoConfig": "evil.Evil"})
    with pytest.raises(ValueError, match=r"names code under auto_map, .*remove the entry") as refusal:
        load(folder)
    assert str(folder / place) in str(refusal.value)
