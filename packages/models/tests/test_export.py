"""Exported models, read again by transformers and by ourselves."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)

from foveal.connectors import AdaptivePool, MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer, clip_vit
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    CropToSquare,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    opt,
    qwen3,
)
from foveal.models.checkpoints.export import export
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.lora import Lora, add_lora
from foveal.models.published import open_published, to_transformers

SIZE, PATCH = 28, 7
llama_of = partial(llama, width=32, depth=2, heads=2, mlp_width=48, context=512)
anyres = {"plan": AnyResPlan(SIZE), "merge": AnyResMerge}


def build(
    *,
    encoder=None,
    connector=MlpProjector,
    language_model=None,
    plan=None,
    merge=None,
    tokenizer=None,
    seed=0,
    **options,
):
    torch.manual_seed(seed)
    model = VisionLanguageModel(
        encoder or VisionTransformer(64, 3, 1, 48, PATCH, SIZE),
        connector,
        language_model or llama_of(260),
        tokenizer or byte_tokenizer(),
        plan or PadToSquare(SIZE),
        merge=merge,
        max_length=512,
        **options,
    )
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.15)
    return model.eval()


def made(name, **options):
    """One of `MODELS`, its parts new."""
    parts = MODELS[name] | options
    whole = {key: value() for key, value in parts.items() if key in ("encoder", "language_model", "tokenizer")}
    return build(**(parts | whole))


def noise(width, height):
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


@torch.no_grad()
def answer(model, picture):
    sample = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhich?")])
    return model(sample.input_ids[None], sample.views, sizes=sample.sizes)


MODELS = {
    "padded": {},
    "cropped": {"plan": CropToSquare(SIZE)},
    "with class token": {
        "encoder": partial(VisionTransformer, 64, 3, 1, 48, PATCH, SIZE, keep_class_token=True),
        "connector": partial(MlpProjector, prefix_tokens=1),
    },
    "last layer, gelu": {
        "encoder": partial(VisionTransformer, 64, 2, 4, 48, PATCH, SIZE, layers=(-1,), activation="gelu")
    },
    "first of three layers": {"encoder": partial(VisionTransformer, 64, 3, 4, 48, PATCH, SIZE, layers=(1,))},
    "AnyRes": anyres,
    "AnyRes, height first": anyres | {"plan": AnyResPlan(SIZE, ((2, 1), (1, 3)), tie_order="height_first")},
    "AnyRes, other canvases": anyres | {"plan": AnyResPlan(SIZE, ((2, 1), (1, 2), (4, 1)))},
    "tied Qwen3": {"language_model": partial(qwen3, 260, width=32, depth=1, heads=2, mlp_width=48)},
    "room for <image>": {"language_model": partial(llama_of, 300)},
    "has <image>": {
        "language_model": partial(llama_of, 320),
        "tokenizer": partial(byte_tokenizer, ["<image>", "<pad2>"]),
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_read_again_by_transformers_and_by_us(tmp_path, name):
    model = made(name)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exported = export(model, tmp_path / "out")
    is_next = model.merge is not None
    assert exported.kind == ("LlavaNext" if is_next else "Llava") + "ForConditionalGeneration"
    assert exported.difference < 1e-5
    assert not list(tmp_path.glob(".*"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    if name == "tied Qwen3":
        with pytest.raises(ValueError, match="prompts that a qwen3 was trained with are not known: pass `template`"):
            open_published(tmp_path / "out")
    again = open_published(tmp_path / "out", Overrides(max_length=512, template=model.processor.template))
    picture = noise(61, 40)
    rows = model.language_model.get_input_embeddings().weight.shape[0]
    if isinstance(model.processor.plan, AnyResPlan):
        for size in ((61, 40), (40, 61), (5, 3), (20, 20), (90, 10)):
            assert again.processor.plan.tile_grid(Size(*size)) == model.processor.plan.tile_grid(Size(*size))
    else:
        again.processor.plan = model.processor.plan
    torch.testing.assert_close(answer(again, picture)[..., :rows], answer(model, picture), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", ["padded", "cropped", "AnyRes", "AnyRes, other canvases", "with class token"])
@pytest.mark.parametrize("size", [(61, 40), (20, 45), (12, 9), (28, 28)])
def test_from_picture_and_text_to_logits(tmp_path, name, size):
    """transformers' processor gives the same number of placeholders and the same pixels, also for ties of canvases."""
    model = made(name, template="plain")
    export(model, tmp_path / "out")
    kind = LlavaForConditionalGeneration if model.merge is None else LlavaNextForConditionalGeneration
    theirs = kind.from_pretrained(tmp_path / "out").eval()
    # With torchvision installed, the default is its backend, whose pixels differ by up to two grey levels.
    processor = AutoProcessor.from_pretrained(tmp_path / "out", backend="pil")
    picture = noise(*size)
    inputs = processor(images=picture, text="<image>", return_tensors="pt")
    sample = model.processor.encode_prompt([picture], [Turn("user", "<image>")])
    assert inputs["input_ids"].shape == (1, len(sample.input_ids))
    ours = model(sample.input_ids[None], sample.views, sizes=sample.sizes)
    logits = theirs(**inputs).logits
    assert ours.std() > 0.1
    torch.testing.assert_close(logits[..., :260], ours, atol=1e-5, rtol=0)
    other = model(sample.input_ids[None], [255 - view for view in sample.views], sizes=sample.sizes)
    assert (other - ours).abs().max() > 1e-3


def test_half_precision_is_kept_and_compared_in_float32(tmp_path):
    model = build()
    for weight in model.parameters():
        weight.data = weight.data.bfloat16()
    rotary = model.language_model.model.rotary_emb.inv_freq.dtype
    exported = export(model, tmp_path / "out")
    assert exported.difference < 1e-5
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.language_model.model.rotary_emb.inv_freq.dtype == rotary
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_new_rows_are_the_mean(tmp_path):
    model = build()
    export(model, tmp_path / "out")
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out")
    table = theirs.get_input_embeddings().weight
    assert table.shape[0] == theirs.lm_head.weight.shape[0] == 320
    assert theirs.config.image_token_id == 260
    assert torch.equal(table[:260], model.language_model.get_input_embeddings().weight)
    torch.testing.assert_close(table[260:], table[:260].mean(dim=0).expand(60, -1))


@pytest.mark.parametrize("fault", ["activation", "canvases"])
def test_logits_that_differ_leave_nothing(tmp_path, monkeypatch, fault):
    if fault == "activation":
        original = to_transformers.vision_config
        monkeypatch.setattr(to_transformers, "vision_config", lambda tower: original(tower) | {"hidden_act": "relu"})
        model, message = build(), "LlavaForConditionalGeneration differ from the model's by up to"
    else:
        monkeypatch.setattr(to_transformers, "pinpoints", lambda model: [[SIZE, SIZE]])
        model, message = build(**anyres), "Image features and image tokens do not match"
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


REASONS = {
    "the connector, a AdaptivePool, is not an MLP of two layers": {
        "connector": partial(AdaptivePool, rows=2, columns=2)
    },
    "the connector, a MlpProjector, is not an MLP of two layers": {"connector": partial(MlpProjector, depth=3)},
    "its views are those of DeepStackPlan and DeepStackMerge": {
        "plan": DeepStackPlan(SIZE),
        "merge": DeepStackMerge,
        "language_model": llama(260, width=32, depth=6, heads=2, mlp_width=48),
    },
    "its tiles are merged flat with max_tiles None": anyres | {"merge": partial(AnyResMerge, kind="flat")},
    "its tiles are merged spatial_unpad with max_tiles 2": anyres | {"merge": partial(AnyResMerge, max_tiles=2)},
    "its views have 56 pixels a side, the tower was made for 28": {"plan": PadToSquare(56)},
    "the language model, an OPTForCausalLM, has its embeddings elsewhere than a LLaMA": {
        "language_model": opt(260, width=32, depth=1, heads=2, mlp_width=48, context=512)
    },
    "the encoder, a VisionTransformer, is not a CLIP or SigLIP of which one layer is used": {
        "encoder": VisionTransformer(64, 3, 4, 48, PATCH, SIZE, patch_bias=True)
    },
}


@torch.no_grad()
@pytest.mark.parametrize("reason", REASONS)
def test_parts_apart(tmp_path, reason):
    model = build(**REASONS[reason])
    exported = export(model, tmp_path / "out")
    assert (exported.kind, exported.reason, exported.difference) == (None, reason, None)
    out = tmp_path / "out"
    ids = torch.randint(5, 260, (1, 9))
    language_model = AutoModelForCausalLM.from_pretrained(out / "language_model")
    assert torch.equal(language_model(ids).logits, model.language_model(ids).logits)
    assert len(AutoTokenizer.from_pretrained(out / "tokenizer")) == 260
    if "not a CLIP or" in reason:
        assert load_file(out / "encoder.safetensors").keys() == model.encoder.state_dict().keys()
    else:
        pixels = torch.randn(2, 3, SIZE, SIZE)
        (features,) = model.encoder(pixels)
        theirs = CLIPVisionModel.from_pretrained(out / "encoder")
        states = theirs(pixels, output_hidden_states=True).hidden_states
        torch.testing.assert_close(states[-1][:, 1:], features, atol=1e-5, rtol=0)
        torch.testing.assert_close(clip_vit(str(out / "encoder"), layers=(-1,))(pixels)[0], features, atol=1e-5, rtol=0)
    stored = load_file(out / "connector.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in model.connector.state_dict().items())
    assert (out / "merge.safetensors").exists() == bool(model.merge is not None and model.merge.state_dict())


def test_adapters_and_folders_that_are_not_empty(tmp_path):
    model = build()
    model.language_model.extra = nn.Linear(1, 1)
    exported = export(model, tmp_path / "apart")
    assert exported.reason == "the language model has tensors such as extra.bias (merge adapters first)"
    (tmp_path / "out").mkdir()
    assert export(build(), tmp_path / "out").kind == "LlavaForConditionalGeneration"
    with pytest.raises(ValueError, match="out exists and is not empty"):
        export(model, tmp_path / "out")
    adapted = build()
    add_lora(adapted, Lora(rank=2, alpha=4, dropout=0.0))
    with pytest.raises(ValueError, match="the model has adapters: merge them first"):
        export(adapted, tmp_path / "adapted")
    assert not (tmp_path / "adapted").exists()
