"""Fixtures for tests of InternVL."""

import pytest
from packages.models.tests.heirs.internvl.folders import processor_of, written


@pytest.fixture
def processor(chatml_tokenizer):
    return processor_of(chatml_tokenizer)


@pytest.fixture
def write(tmp_path, processor):
    """Writes a model as transformers does."""
    return lambda reference, name="folder": written(tmp_path / name, reference, processor)
