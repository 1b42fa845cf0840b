"""The tokenizer in a checkpoint folder, and in folders of earlier versions."""

import logging
import shutil

import pytest
import yaml
from sentencepiece import SentencePieceProcessor
from transformers import AddedToken, LlamaTokenizer

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, llama, load, pretrained_tokenizer, save


@pytest.fixture
def saved(sentencepiece_folder, tmp_path):
    """A checkpoint, and one as earlier versions saved it: transformers converted the vocabulary."""

    def saved(*, earlier):
        folder = tmp_path / "checkpoint"
        tokenizer = pretrained_tokenizer(str(sentencepiece_folder), ["<img>"])
        model = VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28),
            MlpProjector,
            llama(len(tokenizer), width=32, depth=1, heads=2, mlp_width=32),
            tokenizer,
            PadToSquare(28),
        )
        save(model, folder)
        if earlier:
            config = yaml.safe_load((folder / "config.yaml").read_text())
            assert config.pop("tokenizer_format") == 2
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            converted = LlamaTokenizer.from_pretrained(sentencepiece_folder, add_bos_token=True)
            converted.add_tokens([AddedToken("<img>", special=True, normalized=False)])
            converted.save_pretrained(folder / "tokenizer")
        return folder

    return saved


def ids_of(model):
    return model.processor.tokenizer("  of<img>  the")["input_ids"]


def ids_in(folder):
    """sentencepiece's ids of the same text; <img> is the token after the last one."""
    reference = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return [1, *reference.encode("  of"), len(reference), *reference.encode("  the")]


def test_a_checkpoint_keeps_the_ids(sentencepiece_folder, saved, caplog):
    expected = ids_in(sentencepiece_folder)
    with caplog.at_level(logging.INFO, logger="foveal.models.checkpoints"):
        model = load(saved(earlier=False))
    assert ids_of(model) == expected
    assert not caplog.records


def test_checkpoints_of_earlier_versions(sentencepiece_folder, saved, caplog):
    expected = ids_in(sentencepiece_folder)
    folder = saved(earlier=True)
    model = load(folder)
    assert ids_of(model) != expected
    assert f"{folder / 'tokenizer'} was written by an earlier version" in caplog.text
    assert "copy the language model's tokenizer.model into this folder" in caplog.text
    caplog.clear()
    shutil.copy(sentencepiece_folder / "tokenizer.model", folder / "tokenizer")
    assert ids_of(load(folder)) == expected
    assert not caplog.records
    (folder / "tokenizer" / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"tokenizer\.model is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("number", "message"),
    [(3, "tokenizer_format 3, this version reads up to 2"), ("2", "tokenizer_format is '2', but must be int")],
)
def test_a_later_tokenizer(saved, number, message):
    folder = saved(earlier=False)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"tokenizer_format": number}))
    with pytest.raises(ValueError, match=message):
        load(folder)
