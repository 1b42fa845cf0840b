"""Fixtures for tests of models."""

import io
from pathlib import Path

import pytest

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import VisionLanguageModel, llama
from foveal.models.published import load_llava


@pytest.fixture
def small_tokenizer():
    """A tokenizer that fits a reference's small vocabulary; only its special tokens are used."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    def build(size):
        special = {"<pad>": size - 3, "<s>": size - 2, "</s>": size - 1}
        words = {f"w{number}": number for number in range(size - 3)}
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(words | special, unk_token="<pad>")),
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
        )

    return build


TEXT = (Path(__file__).parents[1] / "LICENSE").read_text(encoding="utf-8")
"""What vocabularies are learnt from; it has empty lines and indented ones."""


@pytest.fixture
def sentencepiece_folder(tmp_path):
    """A folder with only a `tokenizer.model`, like LLaMA's but small: byte fallback, a space put before the text."""
    import sentencepiece

    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.splitlines()),
        model_writer=stream,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        minloglevel=2,
    )
    folder = tmp_path / "sentencepiece"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(stream.getvalue())
    return folder


@pytest.fixture
def bpe_folder(tmp_path):
    """A folder with vocab.json and merges.txt, like GPT-2's but small: byte-level, empty lines are one token."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    empty_lines = "one\n\n\n" * 100  # the last newline before a word is a separate token
    tokenizer.train_from_iterator([TEXT, empty_lines], vocab_size=700, show_progress=False)
    folder = tmp_path / "bpe"
    folder.mkdir()
    tokenizer.save_model(str(folder))
    return folder


@pytest.fixture
def reference_llava(golden, small_tokenizer):
    """A LLaVA in a reference's sizes, with its weights."""

    def build(name, plan, *, weights, merge=None, keep_class_token=False):
        meta = golden(name).meta
        vision, text = meta["vision"], meta["text"]
        model = VisionLanguageModel(
            VisionTransformer(
                vision["hidden_size"],
                vision["num_hidden_layers"],
                vision["num_attention_heads"],
                vision["intermediate_size"],
                vision["patch_size"],
                vision["image_size"],
                keep_class_token=keep_class_token,
            ),
            lambda i, o: MlpProjector(i, o, prefix_tokens=int(keep_class_token)),
            llama(
                text["vocab_size"],
                width=text["hidden_size"],
                depth=text["num_hidden_layers"],
                heads=text["num_attention_heads"],
                mlp_width=text["intermediate_size"],
                context=text["max_position_embeddings"],
                norm_eps=text["rms_norm_eps"],
            ),
            small_tokenizer(text["vocab_size"]),
            plan(vision["image_size"]),
            merge=merge,
            max_length=text["max_position_embeddings"],
        )
        load_llava(model, golden(weights).tensors, source=name)
        return model.eval()

    return build
