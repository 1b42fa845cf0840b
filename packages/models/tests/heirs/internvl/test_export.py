"""InternVLs exported to transformers' layout, read again by transformers and by us."""

from functools import partial

import pytest
import torch
from packages.models.tests.heirs.internvl.folders import (
    LARGE,
    QUESTION,
    SIDE,
    VISION,
    as_the_authors_write,
    theirs,
)
from packages.models.tests.heirs.references import noise, shaken
from transformers import AutoProcessor, InternVLForConditionalGeneration, LlamaConfig, Qwen3Config

from foveal.connectors import MlpProjector, PixelShuffle
from foveal.encoders import VisionTransformer, intern_vit_tower
from foveal.models import DynamicTilesPlan, Turn, VisionLanguageModel, byte_tokenizer, load, opt, qwen3
from foveal.models.checkpoints.export import export

PLAN = DynamicTilesPlan(SIDE, 6, 2, start="<img>", end="</img>")
TOKENS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>")


@torch.no_grad()
def logits(model, picture, turns=QUESTION):
    sample = model.processor.encode_prompt([picture], turns)
    return model(sample.input_ids[None], sample.views, sizes=sample.sizes)


KINDS = {
    "Qwen2": {},
    "tied Qwen3, another layer": {"text": Qwen3Config, "tied": True, "vision_feature_layer": -2},
    "LLaMA, large tower": {"text": LlamaConfig, "vision": LARGE},
    "a norm behind the tower": {"vision": VISION | {"use_mean_pooling": False}},
}


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("tied Qwen3, another layer", "original"),
        ("LLaMA, large tower", "transformers"),
        pytest.param("Qwen2", "original", marks=pytest.mark.slow),
        pytest.param("a norm behind the tower", "transformers", marks=pytest.mark.slow),
    ],
)
def test_read_again_by_transformers_and_by_us(write, processor, tmp_path, kind, layout):
    folder = write(theirs(processor, **KINDS[kind]))
    if layout == "original":
        as_the_authors_write(folder)
    model, picture = load(folder), noise(95, 60)
    exported = export(model, tmp_path / "out")
    assert exported.kind == "InternVLForConditionalGeneration"
    assert exported.difference < 1e-5
    again = load(tmp_path / "out")
    torch.testing.assert_close(logits(again, picture), logits(model, picture), atol=1e-5, rtol=0)
    assert (again.processor.template, again.processor.plan.max_tiles) == ("internvl", 12)
    # transformers' own processor, by its files: the prompt with its system text, and the number of tiles.
    reader = AutoProcessor.from_pretrained(tmp_path / "out")
    content = [{"type": "image"}, {"type": "text", "text": "What is it?"}]
    text = reader.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = reader(images=[picture], text=text, return_tensors="pt")
    sample = model.processor.encode_prompt([picture], QUESTION)
    ids = sample.input_ids.where(sample.input_ids >= 0, reader.image_token_id)
    assert inputs["input_ids"].tolist() == [ids.tolist()]
    assert ("上海" in text) == (layout == "original")
    # Its pixels are torchvision's, which differ by a grey level.
    found = InternVLForConditionalGeneration.from_pretrained(tmp_path / "out")(**inputs).logits
    assert found.shape[1] == len(ids)


def built(*, connector=PixelShuffle, encoder=None, plan=PLAN, language_model=None, template="internvl", **options):
    torch.manual_seed(0)
    model = VisionLanguageModel(
        encoder or intern_vit_tower(32, 2, 2, 48, 7, SIDE),
        connector,
        language_model or qwen3(264, width=32, depth=2, heads=2, mlp_width=48),
        byte_tokenizer(TOKENS),
        plan,
        template=template,
        max_length=1024,
        **options,
    )
    return shaken(model)


@torch.no_grad()
@pytest.mark.parametrize("system", [None, "", 'Say "yes"\nor <no>.'])
def test_a_model_of_our_own_keeps_its_prompt_and_plan(tmp_path, system):
    """Its vocabulary gets rows for the tokens of pictures and videos."""
    model, picture = built(system=system), noise(40, 90)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert export(model, tmp_path / "out").difference < 1e-5
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    again = load(tmp_path / "out", max_length=1024)
    talk = [Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat."), Turn("user", "Sure?")]
    torch.testing.assert_close(logits(again, picture, talk)[..., :264], logits(model, picture, talk), atol=1e-5, rtol=0)
    assert (again.processor.plan.min_tiles, again.processor.plan.max_tiles) == (2, 6)


def test_another_template_is_not_written(tmp_path):
    export(built(template="vicuna_v1"), tmp_path / "out")
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


VIT = partial(VisionTransformer, 32, 2, 2, 48, 7, SIDE, layers=(-1,))
REASONS = {
    "the encoder, a VisionTransformer, is not an InternViT of which one layer is used": {"encoder": VIT()},
    "the norms of queries and keys have an epsilon of 1e-05, in transformers 1e-06": {
        "encoder": intern_vit_tower(32, 2, 2, 48, 7, SIDE, norm_queries=True, norm_eps=1e-5)
    },
    "its views have 56 pixels a side, the tower was made for 28": {
        "plan": DynamicTilesPlan(56, 6, start="<img>", end="</img>")
    },
    "the texts around its pictures are '' and '', or shared by several pictures": {"plan": DynamicTilesPlan(SIDE)},
    "the connector joins blocks of 3 x 3 cells": {
        "encoder": intern_vit_tower(32, 2, 2, 48, 7, 42),
        "plan": DynamicTilesPlan(42, start="<img>", end="</img>"),
        "connector": partial(PixelShuffle, ratio=3),
    },
    "the language model, an OPTForCausalLM, has its embeddings elsewhere than a LLaMA": {
        "language_model": opt(264, width=32, depth=1, heads=2, mlp_width=48)
    },
}


@pytest.mark.parametrize("reason", REASONS)
def test_parts_apart(tmp_path, reason):
    exported = export(built(**REASONS[reason]), tmp_path / "out")
    assert (exported.kind, exported.reason) == (None, reason)
    assert (tmp_path / "out" / "connector.safetensors").is_file()


def test_an_mlp_on_tiles_is_no_internvl(tmp_path):
    exported = export(built(connector=MlpProjector), tmp_path / "out")
    assert "InternViT" not in exported.reason
    assert exported.kind is None
