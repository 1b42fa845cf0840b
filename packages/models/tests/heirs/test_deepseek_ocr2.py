"""DeepSeek-OCR 2 beside transformers' own class."""

import json

import pytest
import torch
from packages.models.tests.heirs.comparisons import check_beside, not_learnt
from packages.models.tests.heirs.references import byte_level, noise, shaken
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import (
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    DeepseekOcr2Processor,
)
from transformers.models.deepseek_ocr2.image_processing_pil_deepseek_ocr2 import DeepseekOcr2ImageProcessorPil

from foveal.core import Grid, Size, build, describe
from foveal.models import DeepSeekOcr2Plan, Turn, answer, load, save
from foveal.models.published.experts import Experts

PATCH, TILE, SIDE = 2, 96, 128
"""Pixels that give 12 x 12 tokens for a tile and 16 x 16 for the whole picture, for which the model has queries."""
BOS, EOS, IMAGE = "<|begin|>", "<|end|>", "<image>"
SAM = {
    "hidden_size": 16,
    "output_channels": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 7,
    "global_attn_indexes": [1],
    "mlp_dim": 24,
    "downsample_channels": [12, 24],
}
READER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
READER |= {"intermediate_size": 40, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "mlp_layer_types": ["dense", "sparse"],
}
CUT = {"size": {"height": SIDE, "width": SIDE}, "tile_size": TILE}


@pytest.fixture(scope="module")
def tokenizer():
    fast = byte_level(
        "\nFree OCR. \n<|grounding|>Convert",
        290,
        bos_token=BOS,
        eos_token=EOS,
        pad_token="<|pad|>",
        additional_special_tokens=[IMAGE, "<|grounding|>"],
    )
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, fast.bos_token_id)]
    )
    return fast


@pytest.fixture(scope="module")
def reference(tokenizer):
    torch.manual_seed(0)
    special = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = DeepseekOcr2Config(
        vision_config={"sam_config": SAM, "encoder_config": READER},
        text_config=TEXT | {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id} | special,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    return shaken(DeepseekOcr2ForConditionalGeneration(config), 0.3, vectors=0.5)


@pytest.fixture(scope="module")
def folder(reference, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("deepseek")
    reference.save_pretrained(path)
    tokenizer.save_pretrained(path)
    DeepseekOcr2ImageProcessorPil(**CUT).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def processor(tokenizer):
    return DeepseekOcr2Processor(DeepseekOcr2ImageProcessorPil(**CUT), tokenizer, patch_size=PATCH)


def views_of(theirs):
    """Their views in the order of the tokens: the tiles of a picture, then the whole picture."""
    tiles, views = iter(theirs.get("pixel_values_local", ())), []
    for number, whole in zip(theirs["num_local_patches"], theirs["pixel_values"], strict=True):
        views += [next(tiles) for _ in range(int(number))] + [whole]
    return views


@pytest.mark.parametrize(
    ("sizes", "question"),
    [([(80, 60)], "<image>\nFree OCR. "), ([(200, 130), (40, 90)], "<image><image>\n<|grounding|>Convert ")],
)
def test_beside_transformers(folder, reference, processor, sizes, question):
    """The same views, ids, logits and greedy tokens, for a small picture, and a large one next to a small one."""
    model, pictures = load(folder), [noise(*size) for size in sizes]
    theirs = processor(images=pictures, text=question, return_tensors="pt")
    views = views_of(theirs)
    assert len(views) == (1 if len(sizes) == 1 else 2 + 6)
    check_beside(model, reference, pictures, [Turn("user", question)], theirs, placeholder=IMAGE, views=views)


@torch.no_grad()
def test_saved(folder, tmp_path):
    model = load(folder)
    again = load(save(model, tmp_path / "saved"))
    assert describe(again.encoder) == describe(model.encoder)
    assert describe(again.processor.plan) == describe(model.processor.plan)
    question = "<image>\nFree OCR. "
    sample = model.processor.encode_prompt([noise(80, 60)], [Turn("user", question)])
    given = (sample.input_ids[None], sample.views, None, None, sample.sizes)
    assert torch.equal(again(*given), model(*given))
    asked = (noise(80, 60), question)
    assert answer(again, *asked, max_new_tokens=4) == answer(model, *asked, max_new_tokens=4)


def test_names_in_memory(folder, copied, reference):
    save_file({name: tensor.clone() for name, tensor in reference.state_dict().items()}, copied / "model.safetensors")
    first, second = load(folder).state_dict(), load(copied).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_experts_are_not_quantised(folder):
    with pytest.raises(ValueError, match=r"other matrices in 2 decoder layers, such as .*experts"):
        load(folder, quantize="nf4-dq")


def test_a_step_reaches_every_part(folder):
    model = load(folder).train()
    turns = [Turn("user", "<image>\nFree OCR. "), Turn("assistant", "some text that is long enough for all experts")]
    batch = model.processor.collate([model.processor.encode([noise(130, 97)], turns)])
    assert {view.shape[-1] for view in batch.views} == {TILE, SIDE}
    assert not_learnt(model, batch) == []


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("preprocessor_config.json", {"crop_to_patches": False}, "crop_to_patches is False, which cannot be honoured"),
        ("preprocessor_config.json", {"size": {"height": 128, "width": 96}}, "size is .*which cannot be honoured"),
        ("preprocessor_config.json", {"background_color": [0, 0]}, "background_color is"),
        ("preprocessor_config.json", {"min_patches": 7}, "min_patches is 7"),
        ("preprocessor_config.json", {"tile_size": 64}, "there are queries for squares of 12, 16 only"),
        ("config.json", {"encoder_config": {"hidden_act": "gelu"}}, "hidden_act of the encoder's language model is 'g"),
        ("config.json", {"encoder_config": {"use_sliding_window": True}}, "use_sliding_window of the encoder's"),
        ("config.json", {"sam_config": {"use_rel_pos": False}}, "use_rel_pos of the image tower is False"),
    ],
)
def test_settings_that_cannot_be_honoured(copied, file, changed, message):
    stated = json.loads((copied / file).read_text())
    for key, value in changed.items():
        place = stated if file != "config.json" else stated["vision_config"]
        place[key] = place[key] | value if isinstance(value, dict) and file == "config.json" else value
    (copied / file).write_text(json.dumps(stated))
    with pytest.raises(ValueError, match=message):
        load(copied)


def with_expert(name, *shape):
    return lambda tensors: tensors.update({f"model.layers.1.mlp.experts.{name}.weight": torch.ones(shape)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.layers.1.mlp.experts.2.up_proj.weight"), r"experts\.2\.up_proj.*missing"),
        (with_expert("4.up_proj", 16, 32), "counts 4"),
        (with_expert("2.up_proj", 9, 32), r"experts\.gate_up_proj have several shapes: \[\(9, 32\), \(16, 32\)\]"),
        (lambda tensors: tensors.pop("model.view_seperator"), "separator"),
        (lambda tensors: tensors.pop("model.qwen2_model.query_768.weight"), r"queries\.0"),
    ],
)
def test_tensors_that_are_missing_or_too_many(copied, change, message):
    tensors = load_file(copied / "model.safetensors")
    change(tensors)
    save_file(tensors, copied / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        load(copied)


def test_experts_of_several_layers_in_any_order():
    layers = [f"layers.{number}.experts" for number in range(2)]
    stream = {
        f"{layer}.{number}.{name}.weight": torch.randn(3, 2)
        for layer in layers
        for number in (1, 0)
        for name in ("up_proj", "down_proj", "gate_proj")
    } | {"norm": torch.ones(1)}
    joined = dict(Experts(2, "a folder")(stream.items()))
    assert set(joined) == {"norm", *(f"{layer}.{name}" for layer in layers for name in ("gate_up_proj", "down_proj"))}
    gates = [stream[f"layers.1.experts.1.{name}.weight"] for name in ("gate_proj", "up_proj")]
    assert torch.equal(joined["layers.1.experts.gate_up_proj"][1], torch.cat(gates))


def test_views_of_large_and_small_pictures():
    plan = DeepSeekOcr2Plan()
    assert plan.tiles(Size(768, 768)) is None
    assert plan.tiles(Size(769, 768)) == Grid(2, 2)
    assert plan.views(Size(1240, 1754)) == (*[Size(768, 768)] * 6, Size(1024, 1024))
    small = DeepSeekOcr2Plan(64, 32)
    (view,) = small.cut(Image.new("RGB", (16, 8), "red"))
    assert view.getpixel((32, 15)) == (127, 127, 127)
    assert view.getpixel((32, 16)) == view.getpixel((0, 47)) == (255, 0, 0)
    assert small.cut(Image.new("RGB", (1000, 1)))[-1].size == (64, 64)
    assert describe(build(describe(small), allow=("foveal",))) == describe(small)
