"""LLaVAs that read several layers of their tower, beside transformers' own: ViP-LLaVA and Granite Vision."""

import json

import pytest
import torch
from packages.models.tests.heirs.references import byte_level, noise, shaken, stating
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    GraniteConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
    SiglipVisionConfig,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from foveal.connectors import Chain, ConcatChannels, MlpProjector, Norm
from foveal.models import IMAGE_TOKEN_ID, AnyResPlan, CropToSquare, PadToSquare, Turn, generate, load, save
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.views.normalise import normalised

SIDE, IMAGE_ID, SCALING = 28, 262, 4.0
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 6,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 7,
}
TEXT = {
    "vocab_size": 272,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 1,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
PINPOINTS = [[28, 56], [56, 28], [56, 56], [28, 84], [84, 28], [28, 112], [112, 28]]
SQUARE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SYSTEM = "A chat between a curious {} and an artificial intelligence assistant. The assistant gives helpful, detailed, "
SYSTEM += "and polite answers to the {}'s questions."
GRANITE = f"<|system|>\n{SYSTEM.format('user', 'user')}\n<|user|>\n<image>\nWhat?\n<|assistant|>\n"
VIP = f"{SYSTEM.format('human', 'human')} USER: <image>\nWhat? ASSISTANT:"
PICTURE = noise(90, 40)
QUESTION = [Turn("user", "<image>\nWhat?")]


def tokenizer():
    fast = byte_level()
    fast.add_special_tokens({"eos_token": "<|end_of_text|>", "pad_token": "<pad>"})
    fast.add_special_tokens({"additional_special_tokens": [f"<{number}>" for number in range(4)] + ["<image>"]})
    assert fast.convert_tokens_to_ids("<image>") == IMAGE_ID
    return fast


def vip_llava(**options):
    torch.manual_seed(1)
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(**TOWER),
        text_config=LlamaConfig(**TEXT, rms_norm_eps=1e-5),
        image_token_index=IMAGE_ID,
        projector_layernorm_eps=1e-3,
        **{"vision_feature_layer": [-2, -5, -3, 1], **options},
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**SQUARE), tokenizer(), patch_size=7, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    return shaken(VipLlavaForConditionalGeneration(config), 0.2), processor


def granite_vision(**options):
    torch.manual_seed(2)
    multipliers = {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.3}
    config = LlavaNextConfig(
        vision_config=SiglipVisionConfig(**TOWER, vision_use_head=False),
        text_config=GraniteConfig(**TEXT, **multipliers, logits_scaling=SCALING),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=PINPOINTS,
        vision_feature_select_strategy="full",
        **{"vision_feature_layer": [-5, -4, -3, -1], **options},
    )
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(image_grid_pinpoints=PINPOINTS, **SQUARE, **HALVES),
        tokenizer(),
        patch_size=7,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
    )
    return shaken(LlavaNextForConditionalGeneration(config), 0.2), processor


KINDS = {"vip-llava": (vip_llava, VIP, 1.0), "granite vision": (granite_vision, GRANITE, SCALING)}


@pytest.fixture
def write(tmp_path):
    def write(reference, processor, **fields):
        folder = tmp_path / "folder"
        reference.save_pretrained(folder)
        processor.save_pretrained(folder)
        return stating(folder, **fields)

    return write


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_beside_transformers(write, kind, monkeypatch):
    """Views and ids of their processor, logits and greedy tokens of their model; in 4 bits and reloaded the same."""
    make, prompt, scaling = KINDS[kind]
    reference, processor = make()
    folder = write(reference, processor)
    model = load(folder)
    theirs = processor(images=PICTURE, text=prompt, return_tensors="pt")
    sample = model.processor.encode_prompt([PICTURE], QUESTION)
    ids = sample.input_ids[None]
    assert ids.masked_fill(ids == IMAGE_TOKEN_ID, IMAGE_ID).tolist() == theirs["input_ids"].tolist()
    views = torch.stack(normalised(sample.views, model.encoder))
    torch.testing.assert_close(views, theirs["pixel_values"].flatten(0, -4), atol=1e-6, rtol=0)
    expected = reference(**theirs).logits
    assert expected.std() > 0.1
    # transformers' LLaVA-NeXT leaves out Granite's scaling of logits, which changes no greedy token.
    torch.testing.assert_close(model(ids, sample.views, sizes=sample.sizes) * scaling, expected, atol=1e-5, rtol=1e-5)
    answer = reference.generate(**theirs, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :].tolist()
    saved = load(save(model, folder.parent / "saved"))
    assert torch.equal(*(each(ids, sample.views, sizes=sample.sizes) for each in (model, saved)))
    monkeypatch.setattr(model.processor, "decode", list)
    assert generate(model, model.processor.collate([sample], side="left"), max_new_tokens=6) == [answer]
    first = load(folder, quantize="nf4-dq")
    again = load(save(first, folder.parent / "quantised"))
    assert recorded_kind(again.language_model.config) == "nf4-dq"
    assert torch.equal(*(each(ids, sample.views, sizes=sample.sizes) for each in (first, again)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_learns(write, kind):
    model = load(write(*KINDS[kind][0]())).train()
    sample = model.processor.encode([PICTURE], [*QUESTION, Turn("assistant", "Noise.")])
    model.loss(model.processor.collate([sample])).total.backward()
    assert {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is not None} >= {
        "encoder",
        "connector",
        "language_model",
    }
    assert all(weight.grad.abs().sum() > 0 for weight in model.connector.parameters())
    learnt = model.processor.tokenizer.decode(sample.labels[sample.labels != -100])
    assert learnt == ("Noise." if kind == "granite vision" else " Noise.") + "<|end_of_text|>"


def test_parts(write):
    model = load(write(*vip_llava()))
    assert isinstance(model.processor.plan, CropToSquare)
    assert [type(part) for part in model.connector.parts] == [ConcatChannels, Norm, MlpProjector]
    assert (model.encoder.layers, model.connector.stages[1].eps) == ((-2, -5, -3, 1), 1e-3)
    assert model.processor.template == "vicuna_v1"
    one = load(write(*vip_llava(vision_feature_layer=-2)))
    assert [type(part) for part in one.connector.parts] == [Norm, MlpProjector]
    path = write(*vip_llava()) / "config.json"
    path.write_text(path.read_text().replace('"vision_feature_layer"', '"vision_feature_layers"'))
    assert load(path.parent).encoder.layers == (-2, -5, -3, 1)
    model = load(write(*granite_vision()))
    assert isinstance(model.processor.plan, AnyResPlan)
    assert isinstance(model.connector, Chain)
    assert [type(part) for part in model.connector.parts] == [ConcatChannels, MlpProjector]
    assert (model.processor.template, model.processor.stop_ids) == ("granite_vision", [256])


def test_refused(write):
    reference, processor = vip_llava()
    with pytest.raises(ValueError, match="full for 4 layers of a CLIP, whose class tokens cannot be joined"):
        load(write(reference, processor, vision_feature_select_strategy="full"))
    with pytest.raises(ValueError, match=r"layers \(-2, 9\): name at least one, each from -7 to 6"):
        load(write(reference, processor, vision_feature_layer=[-2, 9]))


@torch.no_grad()
def test_vip_llava_in_the_layout_of_its_own_code(tmp_path):
    """Its five layers are in the code, not in the configuration; the projector has other names."""
    torch.manual_seed(1)
    tower = CLIPVisionConfig(**TOWER | {"hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 1})
    text = LlamaConfig(**TEXT, rms_norm_eps=1e-5)
    reference = shaken(
        VipLlavaForConditionalGeneration(
            VipLlavaConfig(vision_config=tower, text_config=text, image_token_index=IMAGE_ID)
        ),
        0.2,
    )
    names = {
        "model.language_model.": "model.",
        "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "model.multi_modal_projector.projector_layernorm.": "model.mm_projector.clip_layernorm.",
        "model.multi_modal_projector.linear_1.": "model.mm_projector.final_linear.0.",
        "model.multi_modal_projector.linear_2.": "model.mm_projector.final_linear.2.",
    }
    tensors = {}
    for name, tensor in reference.state_dict().items():
        now = next((prefix for prefix in names if name.startswith(prefix)), "")
        tensors[names.get(now, "") + name.removeprefix(now)] = tensor.clone()
    save_file(tensors, tmp_path / "model.safetensors")
    fields = {
        "model_type": "llava",
        "mm_vision_tower": "clip_4layers_336",
        "mm_vision_select_layer": -2,
        "mm_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
        "rms_norm_eps": 1e-5,
    }
    (tmp_path / "config.json").write_text(json.dumps(TEXT | fields))
    tokenizer().save_pretrained(tmp_path)
    model = load(tmp_path)
    assert isinstance(model.processor.plan, PadToSquare)
    sample = model.processor.encode_prompt([PICTURE], QUESTION)
    ids = sample.input_ids[None]
    assert model.processor.tokenizer.decode(ids[ids >= 0]) == VIP.replace("<image>", "")
    pixels = torch.stack(normalised(sample.views, model.encoder))
    expected = reference(input_ids=ids.masked_fill(ids < 0, IMAGE_ID), pixel_values=pixels).logits
    torch.testing.assert_close(model(ids, sample.views), expected, atol=1e-5, rtol=0)
    again = load(save(load(tmp_path, quantize="nf4-dq"), tmp_path.parent / "saved"))
    assert torch.equal(again(ids, sample.views), load(tmp_path, quantize="nf4-dq")(ids, sample.views))
