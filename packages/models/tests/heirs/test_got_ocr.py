"""GOT-OCR 2.0 beside transformers' own class, in its layout and in that of the original code."""

import json
from functools import partial

import pytest
import torch
from packages.models.tests.heirs.comparisons import check_beside, check_saved_and_quantised, not_learnt
from packages.models.tests.heirs.references import byte_level, noise, shaken, stating
from safetensors.torch import load_file, save_file
from transformers import GotOcr2Config, GotOcr2ForConditionalGeneration, GotOcr2Processor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from foveal.core import Size
from foveal.models import DynamicTilesPlan, Turn, load

SIDE = 128
PATCH = 8
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>"]
VISION = {
    "hidden_size": 32,
    "output_channels": 12,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 5,
    "global_attn_indexes": [1],
    "mlp_dim": 40,
}
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 24,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
TOKENS = (SIDE // PATCH // 4) ** 2
check = partial(check_beside, placeholder="<imgpad>")


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level, with tokens for line ends and colons together with what follows them."""
    return byte_level(
        "\n OCR: user\n OCR with format: system\n[red] [1, 2]",
        300,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
    )


@pytest.fixture(scope="module")
def reference(tokenizer):
    torch.manual_seed(0)
    rows = len(tokenizer)
    text = TEXT | {"vocab_size": rows, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = GotOcr2Config(
        vision_config=VISION, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<imgpad>")
    )
    return shaken(GotOcr2ForConditionalGeneration(config), 0.3, vectors=0.5)


@pytest.fixture(scope="module")
def folder(reference, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("got")
    reference.save_pretrained(path)
    tokenizer.save_pretrained(path)
    GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def processor(tokenizer):
    """Their processor, whose template lacks only the number of tokens of so small a picture."""
    images = GotOcr2ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return GotOcr2Processor(images, tokenizer)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (" OCR: ", {}),
        (" OCR with format: ", {"format": True}),
        ("[red]  OCR: ", {"color": "red"}),
        ("[100, 50, 500, 750] OCR: ", {"box": [13, 4, 65, 60]}),
        (" OCR with format upon the patch reference: ", {"format": True, "crop_to_patches": True, "max_patches": 6}),
    ],
)
def test_beside_transformers(folder, reference, processor, question, options):
    cropped = "crop_to_patches" in options
    plan = DynamicTilesPlan(SIDE, 6, start="<img>", end="</img>", enclose_together=True) if cropped else None
    picture, model = noise(130, 80), load(folder, plan=plan)
    theirs = processor(picture, **options, num_image_tokens=TOKENS, return_tensors="pt")
    assert len(theirs["pixel_values"]) == (7 if cropped else 1)
    check(model, reference, [picture], [Turn("user", f"<image>\n{question}")], theirs)


def test_pages_share_the_tokens_around_them(folder, reference, processor):
    pages, model = [noise(90, 130, 1), noise(130, 90, 2)], load(folder)
    options = {"multi_page": True, "num_image_tokens": TOKENS, "return_tensors": "pt"}
    theirs = processor([pages], **options)
    assert (theirs["input_ids"] == processor.tokenizer.convert_tokens_to_ids("<img>")).sum() == 1
    check(model, reference, pages, [Turn("user", "<image><image>\n OCR across multi pages: ")], theirs)
    apart = model.processor.encode_prompt(pages, [Turn("user", "<image>\n<image>\n OCR: ")])
    assert (apart.input_ids == processor.tokenizer.convert_tokens_to_ids("<img>")).sum() == 2
    sizes = [Size.of(each.size) for each in pages]
    turns = [Turn("user", "<image><image>\nOCR: "), Turn("assistant", "a b")]
    assert model.processor.length(sizes, turns) == len(model.processor.encode(pages, turns).input_ids)


def test_the_layout_of_the_original_code(folder, reference, processor, tokenizer, tmp_path):
    renamed = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for theirs, original in ORIGINAL:
            name = name.replace(theirs, original)
        renamed[name] = tensor
    save_file(renamed, tmp_path / "model.safetensors")
    text = json.loads((folder / "config.json").read_text())["text_config"]
    fields = {"model_type": "GOT", "image_token_len": 256, "use_im_start_end": True, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(text | fields))
    tokenizer.save_pretrained(tmp_path)
    assert {"model.vision_tower_high.net_2.weight", "model.mm_projector_vary.bias"} < set(renamed)
    theirs = processor(noise(130, 80), num_image_tokens=TOKENS, return_tensors="pt")
    check(load(tmp_path), reference, [noise(130, 80)], [Turn("user", "<image>\n OCR: ")], theirs)


ORIGINAL = (
    ("multi_modal_projector.multimodal_projector", "model.mm_projector_vary"),
    ("multi_modal_projector.conv_upsampler1", "model.vision_tower_high.net_2"),
    ("multi_modal_projector.conv_upsampler2", "model.vision_tower_high.net_3"),
    ("language_model.model.", "model."),
    ("vision_tower.layers.", "model.vision_tower_high.blocks."),
    ("vision_tower.", "model.vision_tower_high."),
    ("patch_embed.projection", "patch_embed.proj"),
    ("neck.conv1", "neck.0"),
    ("neck.layer_norm1", "neck.1"),
    ("neck.conv2", "neck.2"),
    ("neck.layer_norm2", "neck.3"),
    (".layer_norm", ".norm"),
    ("model.model.", "model."),
)


def test_names_in_memory(folder, copied, reference):
    tensors = {name: tensor.clone() for name, tensor in reference.state_dict().items() if name != "lm_head.weight"}
    assert all(name.startswith("model.") for name in tensors)
    save_file(tensors, copied / "model.safetensors")
    first, second = load(folder).state_dict(), load(copied).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_saved_and_quantised(folder, tmp_path):
    pictures, options = [noise(60, 90)], {"plan": "crop_to_patches"}
    _, again = check_saved_and_quantised(folder, tmp_path, pictures, "<image>OCR: ", **options)
    assert (again.processor.plan.max_tiles, again.processor.plan.enclose_together) == (12, True)


def test_a_step_reaches_every_part(folder):
    model = load(folder).train()
    turns = [Turn("user", "<image>\nOCR: "), Turn("assistant", "some text")]
    batch = model.processor.collate([model.processor.encode([noise(100, 70)], turns)])
    assert not_learnt(model, batch) == []


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("preprocessor_config.json", {"size": {"height": 64, "width": 64}}, "size is .*the tower takes views of 128"),
        (
            "preprocessor_config.json",
            {"size": {"shortest_edge": 128}, "do_center_crop": True, "crop_size": {"height": 128, "width": 128}},
            "only a square is known",
        ),
        ("preprocessor_config.json", {"resample": 2}, "resample is 2, which cannot be honoured"),
        ("preprocessor_config.json", {"crop_to_patches": True, "min_patches": 99}, "min_patches is 99"),
        ("preprocessor_config.json", {"image_processor_type": "CLIPImageProcessor"}, "known are GotOcr2ImageProc"),
        ("config.json", {"vision_config": VISION | {"hidden_act": "relu"}}, "hidden_act of the image tower is 'relu'"),
        ("config.json", {"vision_config": VISION | {"qkv_bias": False}}, "qkv_bias of the image tower is False"),
        ("config.json", {"image_token_index": 9}, "image_token_index is 9 in config.json, but .* id of <imgpad>"),
        (
            "config.json",
            {"vision_config": VISION | {"hidden_size": "wide"}},
            "no GOT-OCR 2.0 that can be built .*hidden_size",
        ),
    ],
)
def test_settings_that_cannot_be_honoured(copied, file, changed, message):
    stating(copied, file, **changed)
    with pytest.raises(ValueError, match=message):
        load(copied)


def test_a_folder_that_crops(copied):
    GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, crop_to_patches=True, min_patches=2, max_patches=4, image_mean=[0.5] * 3
    ).save_pretrained(copied)
    model = load(copied)
    assert (model.processor.plan.min_tiles, model.processor.plan.max_tiles) == (2, 4)
    assert model.encoder.image_mean == (0.5, 0.5, 0.5)
