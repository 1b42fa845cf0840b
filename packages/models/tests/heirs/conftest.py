"""Fixtures for tests of later models."""

import shutil

import pytest
from packages.models.tests.heirs.references import byte_level


@pytest.fixture(scope="session")
def chatml_tokenizer():
    """Like Qwen2's with bytes alone: 261 ids, with ChatML's tokens and those for pictures and videos."""
    tokenizer = byte_level(eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<image>", "<video>"]})
    return tokenizer


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the module's folder, to be changed."""
    return shutil.copytree(folder, tmp_path / "copied")
