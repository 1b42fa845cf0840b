"""Folders whose tokenizers lack tokens that the weights were trained with, or have other ids for them."""

import json

import pytest
from packages.models.tests.heirs.internvl.folders import as_the_authors_write, processor_of, theirs, written
from packages.models.tests.heirs.references import stating
from tests.minicpm_folder import Reference

from foveal.models import load


def without(folder, token):
    """The folder, in whose tokenizer another token has the id of `token`."""
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.write_text(path.read_text().replace(f'"{token}"', '"<gone>"'))
    return folder


@pytest.fixture
def internvl(tmp_path, chatml_tokenizer):
    processor = processor_of(chatml_tokenizer)
    return written(tmp_path / "internvl", theirs(processor), processor)


@pytest.mark.parametrize("token", ["<img>", "</img>"])
@pytest.mark.parametrize("original", [False, True])
def test_internvl_without_a_mark(internvl, token, original):
    folder = as_the_authors_write(internvl) if original else internvl
    message = f"internvl.*: the tokenizer lacks {token}, which the model was trained with: the folder is incomplete"
    with pytest.raises(ValueError, match=message):
        load(without(folder, token))


def test_internvl_without_the_token_that_begins_turns(internvl):
    with pytest.raises(ValueError, match=r"the template internvl writes <\|im_start\|>, which is not a token"):
        load(without(internvl, "<|im_start|>"), template="internvl")


def test_the_id_of_pictures(internvl):
    """A folder whose tokenizer lacks the token opens: no prompt of ours has it."""
    stated = json.loads((internvl / "config.json").read_text())["image_token_id"]
    with pytest.raises(ValueError, match=f"image_token_id is 9 in config.json, but {stated} is .* id of <IMG_CONTEXT>"):
        load(stating(internvl, image_token_id=9))
    assert load(without(internvl, "<IMG_CONTEXT>"))


@pytest.mark.parametrize("token", ["<image>", "</slice>", "<|im_start|>"])
def test_minicpm_without_a_mark(tmp_path, token):
    folder = Reference(tmp_path).folder
    with pytest.raises(ValueError, match=r"the tokenizer lacks .*, which the model was trained with"):
        load(without(folder, token))


def test_minicpm_with_another_id(tmp_path):
    with pytest.raises(ValueError, match=r"image_token_id is 3 in config.json, but \d+ is .* id of <\|image_pad\|>"):
        load(stating(Reference(tmp_path).folder, image_token_id=3))
