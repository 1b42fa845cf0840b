"""SigLIP's towers inside folders of LLaVAs: beside transformers' own model, and what is refused."""

import json

import pytest
import torch
from packages.models.tests.heirs.references import shaken
from PIL import Image
from safetensors.torch import save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, Qwen2Config, SiglipVisionConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from foveal.encoders.encoder import HALF
from foveal.models import IMAGE_TOKEN_ID, PadToSquare, StretchToSquare, Turn, generate, load, save
from foveal.models.published.siglip_towers import of_original
from foveal.models.published.tensor_names import Names
from foveal.models.views.normalise import normalised

SIDE, PATCH, GRID = 23, 7, 9
"""As in 27 x 27 patches of 384 pixels, a part of a patch is left over."""
NAMED = "google/siglip-so400m-patch14-384"
VISION = {
    "hidden_size": 64,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": SIDE,
    "patch_size": PATCH,
}
TEXT = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ORIGINAL = {
    **TEXT,
    "model_type": "llava_qwen",
    "mm_vision_tower": NAMED,
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "flat",
    "image_aspect_ratio": "pad",
}
NAMES = {
    "model.language_model.": "model.",
    "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
}


def theirs(*, head=False, layer=-1, strategy="full"):
    torch.manual_seed(3)
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=head),
        text_config=Qwen2Config(**TEXT),
        image_token_index=259,
        vision_feature_layer=layer,
        vision_feature_select_strategy=strategy,
    )
    return shaken(LlavaForConditionalGeneration(config))


@pytest.fixture
def original(tmp_path, chatml_tokenizer):
    """Writes a model as LLaVA's own code does; with sizes other than Google's a folder of sizes is needed as well."""

    def original(model, **fields):
        tensors = {}
        for name, tensor in model.state_dict().items():
            prefix = next((prefix for prefix in NAMES if name.startswith(prefix)), "")
            tensors[NAMES.get(prefix, "") + name.removeprefix(prefix)] = tensor.clone()
        save_file(tensors, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(ORIGINAL | fields))
        chatml_tokenizer.save_pretrained(tmp_path)
        return tmp_path

    return original


@pytest.fixture
def sizes(tmp_path):
    """A folder with nothing but the sizes of the whole tower, before LLaVA's code removed a block."""
    folder = tmp_path / "sizes"
    folder.mkdir()
    described = {"model_type": "siglip_vision_model", **VISION, "num_hidden_layers": VISION["num_hidden_layers"] + 1}
    (folder / "config.json").write_text(json.dumps(described))
    return str(folder)


@torch.no_grad()
def check_same(model, reference, side=SIDE):
    pixels = torch.randn(2, 3, side, side)
    text = torch.randint(5, 250, (2, 7))
    ids = torch.cat([text[:, :3], torch.full((2, GRID), IMAGE_TOKEN_ID), text[:, 3:]], dim=1)
    their_ids = ids.masked_fill(ids == IMAGE_TOKEN_ID, 259)
    expected = reference(input_ids=their_ids, pixel_values=pixels).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(model(ids, list(pixels)), expected, atol=1e-5, rtol=0)


def test_original_folder_without_last_block_and_head(original, sizes):
    """As LLaVA-NeXT's code writes it: the last block that is there is the one that was used."""
    reference = theirs()
    model = load(original(reference), encoder=sizes)
    assert (len(model.encoder.blocks), model.encoder.layers) == (3, (-2,))
    assert isinstance(model.processor.plan, PadToSquare)
    assert model.processor.plan.fill == (127, 127, 127)
    assert model.processor.template == "chatml"
    check_same(model, reference)
    again = load(save(model, sizes + "/saved"))
    assert again.encoder.image_size == SIDE
    check_same(again, reference)
    # Of a SigLIP, other aspect ratios than pad stretch the picture.
    assert isinstance(
        load(original(reference, image_aspect_ratio="square"), encoder=sizes).processor.plan, StretchToSquare
    )


def test_original_folder_with_the_whole_tower(original):
    """A folder of other code: mm_vision_select_layer is followed."""
    reference = theirs(head=True, layer=-3)
    model = load(original(reference, mm_vision_select_layer=-3))
    assert (model.encoder.depth, model.encoder.layers, len(model.encoder.blocks)) == (3, (-3,), 1)
    assert model.encoder.image_size == 3 * PATCH  # no file states the pixels that are left over
    check_same(model, reference, side=3 * PATCH)


@torch.no_grad()
def test_llava_interleave(tmp_path, chatml_tokenizer):
    """transformers' layout of LLaVA-NeXT-Interleave, with its processor: one stretched view of every picture."""
    reference = theirs()
    reference.save_pretrained(tmp_path)
    processor = LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}),
        tokenizer=chatml_tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
    )
    processor.save_pretrained(tmp_path)
    reference.config.image_token_index = reference.model.config.image_token_id = processor.image_token_id
    model = load(tmp_path)
    pictures = [Image.effect_noise(size, 90).convert("RGB") for size in ((40, 31), (20, 50))]
    sample = model.processor.encode_prompt(pictures, [Turn("user", "<image>\n<image>\nWhat?")])
    prompt = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n<image>\nWhat?"
    given = processor(images=pictures, text=f"{prompt}<|im_end|>\n<|im_start|>assistant\n", return_tensors="pt")
    batch = model.processor.collate([sample], side="left")
    ids = batch.input_ids.masked_fill(batch.input_ids == IMAGE_TOKEN_ID, processor.image_token_id)
    assert ids.tolist() == given.input_ids.tolist()
    logits = model(batch.input_ids, batch.views, batch.attention_mask)
    torch.testing.assert_close(logits, reference(**given).logits, atol=1e-5, rtol=0)
    answered = reference.generate(**given, max_new_tokens=6, do_sample=False, eos_token_id=model.processor.stop_ids)
    theirs_text = model.processor.decode(answered[0, len(given.input_ids[0]) :])
    assert generate(model, batch, max_new_tokens=6) == [theirs_text]


@pytest.mark.parametrize("head", [False, True])
def test_transformers_folder(tmp_path, chatml_tokenizer, head):
    reference = theirs(head=head, layer=-2 if head else -1)
    reference.save_pretrained(tmp_path)
    chatml_tokenizer.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert (model.encoder.image_mean, model.encoder.image_std) == (HALF, HALF)
    check_same(model, reference)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert isinstance(model.processor.plan, StretchToSquare)
    picture = Image.effect_noise((40, 31), 90).convert("RGB")
    (view,) = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat?")]).views
    expected = SiglipImageProcessorPil.from_pretrained(tmp_path)(picture, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(normalised([view], model.encoder)[0], expected, atol=1e-5, rtol=0)


def test_published_sizes():
    """The name tells the six pixels that 27 patches of 14 leave over."""
    prefix = "model.vision_tower.vision_tower.vision_model."
    shapes = {
        "embeddings.patch_embedding.weight": (1152, 3, 14, 14),
        "embeddings.patch_embedding.bias": (1152,),
        "embeddings.position_embedding.weight": (729, 1152),
        **{f"encoder.layers.{number}.mlp.fc1.weight": (4304, 1152) for number in range(26)},
    }

    class Weights:
        source = "folder"

    Weights.shapes = {prefix + name: shape for name, shape in shapes.items()}
    names = Names({"encoder": {prefix + name: name for name in shapes}})
    for name in (NAMED, "/models/SigLIP-so400m-patch14-384"):
        tower, _ = of_original({"mm_vision_tower": name, "mm_vision_select_layer": -2}, names, Weights, None)
        assert (tower.heads, tower.depth, tower.image_size, tower.native_grid) == (16, 27, 384, (27, 27))
        assert (tower.layers, len(tower.blocks)) == ((-2,), 26)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mm_vision_select_layer": -1}, "mm_vision_select_layer is -1; LLaVA's code uses the last but one"),
        ({"mm_vision_select_layer": [-2, -5]}, r"mm_vision_select_layer is \[-2, -5\]"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature is 'cls_patch', a SigLIP has no class"),
    ],
)
def test_other_layers_are_refused(original, fields, message):
    with pytest.raises(ValueError, match=message):
        load(original(theirs(), **fields))


def test_a_patch_is_not_a_class_token(tmp_path, chatml_tokenizer):
    theirs(strategy="default").save_pretrained(tmp_path)
    chatml_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="strategy is 'default', which leaves out the first patch of a SigLIP"):
        load(tmp_path)
