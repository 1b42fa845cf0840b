"""Fixtures for tests of later models."""

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="session")
def chatml_tokenizer():
    """Like Qwen2's with bytes alone: 261 ids, with ChatML's tokens and those for pictures and videos."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([], vocab_size=256, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<image>", "<video>"]})
    return tokenizer
