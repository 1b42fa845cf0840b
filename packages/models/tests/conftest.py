"""Fixtures for tests of models."""

import pytest


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
