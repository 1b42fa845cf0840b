"""Folders in every published layout, with the real tensor names: opened, run against references, and refused."""

import base64
import json
import logging
from contextlib import nullcontext

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from foveal.connectors import MlpProjector, PerceiverResampler, SpatialResampler
from foveal.connectors.resampler import UHD
from foveal.core import Size, StoredTensors, load_exact
from foveal.core import tensors as reading
from foveal.encoders import VisionTransformer
from foveal.encoders.encoder import CLIP_MEAN
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResMerge,
    AnyResPlan,
    CropToSquare,
    DeepStackHdMerge,
    DeepStackHdPlan,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Turn,
    UhdPlan,
    VaryPlan,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    load,
    save,
)
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.language_models.quantize import quantize, recorded_kind
from foveal.models.published import is_published, load_projector, open_published
from foveal.models.published.canvases import canvases
from foveal.models.published.decoders import prompt_of
from foveal.models.published.qwen_tokenizer import qwen_tokenizer

SIZE, PATCH = 28, 7
VISION = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": SIZE,
    "patch_size": PATCH,
}
TEXT = {
    "vocab_size": 272,
    "hidden_size": 40,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
}
IMAGE_ID = 271
LLAVA = {
    **TEXT,
    "architectures": ["LlavaLlamaForCausalLM"],
    "model_type": "llava",
    "pad_token_id": 0,
    "torch_dtype": "float16",
    "rope_scaling": None,
    "pretraining_tp": 1,
    "max_length": 4096,
    "image_aspect_ratio": "pad",
    "mm_hidden_size": 64,
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None,
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
}
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]


def close(ours, reference, tolerance=1e-5):
    torch.testing.assert_close(ours, reference, atol=tolerance, rtol=0)


@pytest.fixture
def write(tmp_path):
    """A folder with a configuration, tensors in the given number of files, and a tokenizer."""

    def write(tensors, config, *, shards=1, tokenizer=None, name="checkpoint"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        (tokenizer or byte_tokenizer()).save_pretrained(folder)
        tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
        if shards == 1:
            save_file(tensors, folder / "model.safetensors")
            return folder
        shard_of = {}
        for number in range(shards):
            file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            part = dict(list(tensors.items())[number::shards])
            save_file(part, folder / file)
            shard_of |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shard_of}))
        return folder

    return write


@pytest.fixture
def sizes_only(tmp_path):
    """A folder with nothing but the sizes of a CLIP tower."""

    def sizes_only(**sizes):
        folder = tmp_path / "tower_sizes"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", **sizes}))
        return str(folder)

    return sizes_only


def theirs(kind=LlavaForConditionalGeneration, **options):
    """transformers' own LLaVA, in which every weight matters."""
    torch.manual_seed(3)
    configs = {LlavaForConditionalGeneration: LlavaConfig, LlavaNextForConditionalGeneration: LlavaNextConfig}
    config = configs[kind](
        vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE_ID, **options
    )
    model = kind(config).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.15)
    return model


def legacy(name):
    for now, before in {
        "model.language_model.": "language_model.model.",
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "model.image_newline": "image_newline",
        "lm_head.": "language_model.lm_head.",
    }.items():
        if name.startswith(now):
            return before + name.removeprefix(now)
    raise AssertionError(name)


def original(name):
    for now, before in {
        "model.language_model.": "model.",
        "model.vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
    }.items():
        name = name.replace(now, before) if name.startswith(now) else name
    return name


LAYOUTS = {
    "legacy": legacy,
    "since 4.52": lambda name: name.replace("model.vision_tower.", "model.vision_tower.vision_model."),
    "in memory": lambda name: name,
    "original": original,
}


def in_layout(model, layout):
    return {LAYOUTS[layout](name): tensor for name, tensor in model.state_dict().items()}


def config_in(model, layout):
    return LLAVA if layout == "original" else model.config.to_dict()


def prompts(rows=2, tokens=16):
    """Ids with a picture in every row: ours, and transformers'."""
    text = torch.randint(5, 260, (rows, 9))
    ids = torch.cat([text[:, :3], torch.full((rows, tokens), IMAGE_TOKEN_ID), text[:, 3:]], dim=1)
    return ids, ids.masked_fill(ids == IMAGE_TOKEN_ID, IMAGE_ID)


@torch.no_grad()
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_llava(write, layout, shards):
    reference = theirs()
    folder = write(in_layout(reference, layout), config_in(reference, layout), shards=shards)
    assert is_published(folder)
    model = open_published(folder)
    assert not model.training
    assert isinstance(model.processor.plan, PadToSquare)
    assert model.processor.plan.fill == (122, 116, 104)
    assert (model.processor.template, model.processor.max_length) == ("vicuna_v1", 256)
    assert len(model.encoder.blocks) == 2
    pixels = torch.randn(2, 3, SIZE, SIZE)
    ids, their_ids = prompts()
    logits = reference(input_ids=their_ids, pixel_values=pixels).logits
    assert logits.std() > 0.1
    close(model(ids, list(pixels)), logits)
    check_quantised(folder)


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_llava_next(write, layout):
    reference = theirs(LlavaNextForConditionalGeneration, image_grid_pinpoints=PINPOINTS)
    config = config_in(reference, layout) | (
        {"image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial_unpad", "image_grid_pinpoints": PINPOINTS}
        if layout == "original"
        else {}
    )
    folder = write(in_layout(reference, layout), config, shards=2)
    model = open_published(folder)
    order = "width_first" if layout == "original" else "height_first"
    assert isinstance(model.processor.plan, AnyResPlan)
    assert model.processor.plan.candidates == ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
    assert model.processor.plan.tie_order == order
    assert model.merge.rounded == (layout != "original")
    size = Size(90, 31)  # wider than two tiles: the order makes no difference
    tokens = sum(model.processor.count(size))
    assert tokens != 16 * 4
    views = torch.randn(len(model.processor.plan.views(size)), 3, SIZE, SIZE)
    ids, their_ids = prompts(1, tokens)
    logits = reference(
        input_ids=their_ids, pixel_values=views[None], image_sizes=torch.tensor([[size.height, size.width]])
    ).logits
    close(model(ids, list(views), sizes=[size]), logits)
    check_quantised(folder)


@torch.no_grad()
def check_quantised(folder, encoder=None, picture=(30, 20)):
    """Quantising while reading equals quantising in place; saved and reloaded bit by bit, with the same answer."""
    whole, first = open_published(folder, Overrides(encoder=encoder)), load(folder, encoder=encoder, quantize="nf4-dq")
    layers = quantize(whole.language_model, "nf4-dq")
    assert layers
    again = load(save(first, folder.parent / "quantised"))
    assert recorded_kind(again.language_model.config) == "nf4-dq"
    expected = whole.state_dict()
    for model in (first, again):
        found = model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    sample = first.processor.encode_prompt([Image.new("RGB", picture, "red")], [Turn("user", "<image>\nWhat?")])
    batch = first.processor.collate([sample], side="left")
    given = (batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes)
    assert torch.equal(first(*given), again(*given))
    assert generate(first, batch, max_new_tokens=4) == generate(again, batch, max_new_tokens=4)


def test_what_is_not_read_is_listed(write, caplog):
    reference = theirs()
    tensors = in_layout(reference, "original") | {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(5),
        "model.vision_tower.vision_tower.vision_model.embeddings.position_ids": torch.arange(17)[None],
    }
    tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(5)
    with caplog.at_level(logging.INFO, logger="foveal.models.published"):
        model = open_published(write(tensors, LLAVA))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}
    for part in (
        r"1 tensors are not read (a buffer that is computed from the configuration): model.layers.0.self_attn.rotary",
        "1 tensors are not read (the position ids, not a weight)",
        "2 tensors are not read (a norm after the layer that is used)",
        "16 tensors are not read (a block after the layer that is used): "
        "model.vision_tower.vision_tower.vision_model.encoder.layers.2.",
    ):
        assert part in caplog.text


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_kinds_of_numbers(write, dtype):
    reference = theirs().to(torch.bfloat16)
    model = open_published(
        write(in_layout(reference, "legacy"), reference.config.to_dict(), shards=2), Overrides(dtype=dtype)
    )
    wanted = torch.float32 if dtype == "float32" else torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {wanted}
    rotary = model.language_model.model.rotary_emb.inv_freq
    close(rotary, 10000 ** -(torch.arange(0, 10, 2) / 10))
    assert rotary.dtype == torch.float32
    expected = reference.model.multi_modal_projector.linear_1.weight
    assert torch.equal(model.connector.layers[0].weight.to(torch.bfloat16), expected)


@torch.no_grad()
def test_the_tower_of_the_checkpoint_wins(write, tmp_path):
    """The configuration names a tower, but the checkpoint's own tower was trained further."""
    reference, other = theirs(), theirs()
    nn.init.ones_(other.model.vision_tower.embeddings.class_embedding)
    tower = {f"vision_model.{n}": t for n, t in other.model.vision_tower.state_dict().items()}
    base = write(tower, {"model_type": "clip_vision_model", **VISION}, name="tower")
    tensors = in_layout(reference, "original")
    inside = open_published(write(tensors, LLAVA), Overrides(encoder=str(base)))
    assert torch.equal(inside.encoder.class_token, reference.model.vision_tower.embeddings.class_embedding)
    without = {name: tensor for name, tensor in tensors.items() if "vision_tower" not in name}
    for encoder, named in ((str(base), LLAVA["mm_vision_tower"]), (None, str(base))):
        model = open_published(write(without, LLAVA | {"mm_vision_tower": named}), Overrides(encoder=encoder))
        assert torch.equal(model.encoder.class_token, torch.ones(64))
        pixels = torch.randn(2, 3, SIZE, SIZE)
        ids, their_ids = prompts()
        close(model(ids, list(pixels)), other(input_ids=their_ids, pixel_values=pixels).logits)


@torch.no_grad()
@pytest.mark.parametrize("fields", [{"tie_word_embeddings": True}, {}])
def test_tied_embeddings_and_a_picture_token_without_a_row(write, fields):
    """The configuration says so beside text_config or in it; <image> is the first id after the table."""
    reference = theirs(tie_word_embeddings=True)
    tensors = {name: tensor for name, tensor in in_layout(reference, "legacy").items() if "lm_head" not in name}
    config = reference.config.to_dict()
    inside = {**config["text_config"], "tie_word_embeddings": not fields}
    words = byte_tokenizer([f"<{number}>" for number in range(12)] + ["<image>"])
    assert words.convert_tokens_to_ids("<image>") == TEXT["vocab_size"]
    config = {name: value for name, value in config.items() if name != "tie_word_embeddings"}
    fields = fields | {"image_token_index": TEXT["vocab_size"]}
    model = open_published(write(tensors, config | fields | {"text_config": inside}, tokenizer=words))
    pixels = torch.randn(2, 3, SIZE, SIZE)
    ids, their_ids = prompts()
    close(model(ids, list(pixels)), reference(input_ids=their_ids, pixel_values=pixels).logits)
    sample = model.processor.encode_prompt([Image.new("RGB", (5, 5))], [Turn("user", "<image>\nWhat?")])
    assert sample.input_ids.max() < TEXT["vocab_size"]


def test_settings_win_over_the_checkpoint(write):
    reference = theirs()
    folder = write(in_layout(reference, "original"), LLAVA | {"tokenizer_model_max_length": 200})
    assert open_published(folder).processor.max_length == 200
    beyond = write(in_layout(reference, "original"), LLAVA | {"tokenizer_model_max_length": 5000}, name="beyond")
    assert open_published(beyond).processor.max_length == 256
    model = open_published(folder, Overrides(plan=CropToSquare(SIZE), template="plain", max_length=100))
    assert isinstance(model.processor.plan, CropToSquare)
    assert (model.processor.template, model.processor.max_length) == ("plain", 100)
    assert isinstance(
        open_published(
            write(in_layout(reference, "original"), LLAVA | {"image_aspect_ratio": "square"})
        ).processor.plan,
        CropToSquare,
    )


@torch.no_grad()
@pytest.mark.parametrize("is_hd", [False, True])
def test_deepstack(golden, write, small_tokenizer, sizes_only, is_hd):
    meta = golden("deepstack/deepstack_l").meta
    case = golden("deepstack/deepstack_hd" if is_hd else "deepstack/deepstack_l").tensors
    weights = golden.strip(golden("deepstack/weights").tensors, "w.") | (golden.strip(case, "w.") if is_hd else {})
    clip = meta["clip"]
    config = {
        "model_type": "deepstack_llama",
        "vocab_size": meta["vocab"],
        "hidden_size": meta["hidden"],
        "intermediate_size": meta["inter"],
        "num_hidden_layers": meta["layers"],
        "num_attention_heads": meta["heads"],
        "max_position_embeddings": 4096 if is_hd else 2048,
        "rms_norm_eps": 1e-5,
        "image_aspect_ratio": "deepstack",
        "mm_patch_merge_type": "flat",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -2,
        "num_crops": 4,
        **(
            {"is_anyres_deepstack": True, "deepstack_sampling": "2d", "tokenizer_model_max_length": 4096}
            if is_hd
            else {}
        ),
    }
    encoder = sizes_only(
        hidden_size=clip["hidden"],
        num_hidden_layers=clip["layers"],
        num_attention_heads=clip["heads"],
        intermediate_size=clip["inter"],
        patch_size=clip["patch"],
        image_size=clip["image"],
    )
    folder = write(weights, config, shards=2, tokenizer=small_tokenizer(meta["vocab"]))
    model = open_published(folder, Overrides(encoder=encoder))
    assert isinstance(model.processor.plan, DeepStackHdPlan if is_hd else DeepStackPlan)
    assert isinstance(model.merge, DeepStackHdMerge if is_hd else DeepStackMerge)
    assert model.merge.layers == (1, 2, 3, 4)
    assert model.processor.max_length == (4096 if is_hd else 2048)
    pictures = {(2, 2): Size(32, 32), (4, 1): Size(64, 16), (2, 1): Size(32, 16), (1, 2): Size(16, 32)}
    about = golden("deepstack/deepstack_hd").meta if is_hd else meta
    sizes = [pictures[tuple(grid)] for grid in about["grids_wh"]]
    views = [view for number in range(2) for view in case[f"views.{number}"]]
    rows = [
        row[valid].repeat_interleave(torch.where(row[valid] == IMAGE_TOKEN_ID, sum(model.processor.count(size)), 1))
        for row, valid, size in zip(case["input_ids"], case["attention_mask"].bool(), sizes, strict=True)
    ]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True).bool()
    expected = case["logits" if is_hd else "default.logits"]
    torch.testing.assert_close(model(ids, views, mask, sizes=sizes)[mask], expected[mask], atol=1e-5, rtol=1e-5)
    check_quantised(folder, encoder)


@pytest.mark.parametrize(
    ("kind", "connector", "queries", "slices"),
    [
        ("adapt_spatial_resampler", SpatialResampler, 144, 7),
        ("uhd_v1_query64", SpatialResampler, 64, 7),
        ("resampler", PerceiverResampler, 64, 6),
    ],
)
@torch.no_grad()
def test_uhd(write, kind, connector, queries, slices):
    """Queries from their shape, one head for every 128 channels, the position table as it was trained."""
    torch.manual_seed(1)
    reference = connector(64, 256, queries=queries, heads=2).eval()
    for weight in reference.parameters():
        nn.init.normal_(weight, std=0.1)
    text = TEXT | {"hidden_size": 256, "max_position_embeddings": 2048}
    torch.manual_seed(3)
    vision, language = CLIPVisionConfig(**VISION), LlamaConfig(**text)
    whole = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=language))
    tensors = {n: t for n, t in in_layout(whole, "original").items() if "mm_projector" not in n}
    tensors |= {f"model.mm_projector.{name}": tensor for name, tensor in UHD.write(reference.state_dict()).items()}
    folder = write(tensors, LLAVA | text | {"mm_projector_type": kind, "model_type": "llava_llama"}, shards=2)
    model = open_published(folder, Overrides(max_length=2048))
    assert type(model.connector) is connector
    assert (model.connector.queries, model.connector.heads) == (queries, 2)
    plan = model.processor.plan
    assert isinstance(plan, UhdPlan)
    assert (plan.scale, plan.patch, plan.max_slices, plan.separators, plan.long_side) == (
        *(SIZE, PATCH, slices, True),
        None,
    )
    evaluated = open_published(folder, Overrides(plan="uhd_release_evaluation", max_length=2048)).processor.plan
    assert (evaluated.max_slices, evaluated.long_side) == (slices, 1024)
    assert torch.equal(model.connector.positions, reference.positions)
    view = torch.randn(3, 21, 35)
    features = model.encoder(view[None])
    assert torch.equal(torch.stack(model.visual_tokens([view])), reference(features, [(3, 5)]))
    check_quantised(folder)


@torch.no_grad()
def test_mmfuser(golden, write, sizes_only):
    meta, tensors = golden("mmfuser/end_to_end").meta, golden("mmfuser/end_to_end").tensors
    width = meta["projector"]["out"]
    language_model = llama(260, width=width, depth=1, heads=2, mlp_width=16)
    weights = dict(language_model.state_dict())
    tower = golden.strip(tensors, "w.vision_tower.vision_model.")
    weights |= {f"model.vision_tower.vision_tower.vision_model.{name}": tensor for name, tensor in tower.items()}
    weights |= {f"model.mm_projector.{n}": t for n, t in golden.strip(tensors, "w.mm_projector.").items()}
    config = {
        **LLAVA,
        "vocab_size": 260,
        "hidden_size": width,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "mm_vision_select_layer": meta["select_layer"],
    }
    folder = write(weights, config, shards=3)
    model = open_published(folder, Overrides(encoder=sizes_only(**meta["clip"])))
    assert model.connector.stages[0].fused_scale.abs().min() > 0
    assert model.encoder.states == (3, 8, 13, 18, 23)
    model.double()  # see test_mmfuser.py: only the reference's rounding counts
    found = torch.stack(model.visual_tokens(list(tensors["pixel_values"]))).float()
    close(found, tensors["output"], meta["tol"])
    check_quantised(folder, sizes_only(**meta["clip"]))
    with pytest.raises(ValueError, match="a fuser takes several layers, mm_vision_select_layer names one"):
        open_published(
            write(weights, config | {"mm_vision_select_layer": -2}), Overrides(encoder=sizes_only(**meta["clip"]))
        )
    with pytest.raises(ValueError, match="was made for 5 layers, mm_vision_select_layer names 4"):
        open_published(
            write(weights, config | {"mm_vision_select_layer": [-12, -7, -4, -2]}),
            Overrides(encoder=sizes_only(**meta["clip"])),
        )


def vary_tokenizer(size, special):
    from tokenizers import Tokenizer, models

    known = {number: word for word, number in special.items()}
    words = {known.get(number, f"w{number}"): number for number in range(size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        pad_token="w1",
        eos_token="w2",
        additional_special_tokens=list(special),
    )


@torch.no_grad()
@pytest.mark.parametrize("tower", ["vision_tower_2", "vision_tower"])
@pytest.mark.parametrize("with_head", [True, False])
def test_vary_tiny(golden, write, tower, with_head):
    meta, tensors = golden("vary/vary_tiny").meta, golden("vary/vary_tiny").tensors
    sizes = meta["opt"]
    weights = {
        name.replace("vision_tower_2", tower): value
        for name, value in golden.strip(tensors, "w.").items()
        if with_head or name != "lm_head.weight"
    }
    config = {
        "model_type": "vary",
        "vocab_size": sizes["vocab"],
        "hidden_size": sizes["hidden"],
        "word_embed_proj_dim": sizes["hidden"],
        "ffn_dim": sizes["ffn"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "max_position_embeddings": sizes["positions"],
    }
    tokenizer = vary_tokenizer(
        sizes["vocab"], {"<imgpad>": sizes["imgpad"], "<img>": sizes["img"], "</img>": sizes["img_end"]}
    )
    folder = write(weights, config, shards=2, tokenizer=tokenizer)
    model = open_published(folder)
    plan = model.processor.plan
    assert isinstance(plan, VaryPlan)
    assert (plan.size, plan.crop, plan.resample) == (meta["sam"]["image_size"], None, "bicubic")
    assert model.encoder.image_mean == CLIP_MEAN
    assert (model.encoder.window, model.encoder.global_blocks) == (4, (1,))
    assert (model.processor.template, model.processor.max_length) == ("vary_tiny", sizes["positions"])
    ids = tensors["input_ids"].where(tensors["input_ids"] != sizes["imgpad"], IMAGE_TOKEN_ID)
    mask = tensors["attention_mask"].bool()
    close(model(ids, tuple(tensors["pixel_values"]), mask)[mask], tensors["logits"][mask], meta["tol_logits"])
    check_quantised(folder)


@pytest.mark.parametrize(
    ("words", "stated", "message"),
    [
        ({"<imgpad>": 67, "<img>": 68}, {}, "the tokenizer lacks </img>, which the model was trained with: the folder"),
        (
            {"<imgpad>": 67, "<img>": 69, "</img>": 68},
            {"im_start_token": 68},
            "68 in config.json, but 69 is .*<img>",
        ),
        (
            {"<imgpad>": 67, "<img>": 68, "</img>": 69},
            {"im_patch_token": 66},
            "im_patch_token is 66 .*id of <imgpad>",
        ),
        ({"<imgpad>": 67, "<img>": 68, "</img>": 69}, {"im_patch_token": -1, "im_end_token": 69}, None),
    ],
)
def test_tokens_that_were_not_trained_so(golden, write, words, stated, message):
    meta, tensors = golden("vary/vary_tiny").meta["opt"], golden("vary/vary_tiny").tensors
    config = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "vocab_size": 70}
    config |= {"num_attention_heads": 4, "max_position_embeddings": 64} | stated
    folder = write(golden.strip(tensors, "w."), config, tokenizer=vary_tokenizer(meta["vocab"], words))
    with nullcontext() if message is None else pytest.raises(ValueError, match=f"checkpoint: .*{message}"):
        assert open_published(folder).processor.tokenizer.get_added_vocab().keys() >= words.keys()


def test_tied_tensors_that_differ(golden, write):
    weights = golden.strip(golden("vary/vary_tiny").tensors, "w.")
    sizes = golden("vary/vary_tiny").meta["opt"]
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1
    config = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "vocab_size": 70}
    config |= {"num_attention_heads": 4, "max_position_embeddings": 64}
    tokenizer = vary_tokenizer(sizes["vocab"], {"<imgpad>": 67, "<img>": 68, "</img>": 69})
    with pytest.raises(ValueError, match="are tied in OPTForCausalLM, but differ"):
        open_published(write(weights, config, tokenizer=tokenizer))
    with pytest.raises(ValueError, match="is tied to another tensor in OPTForCausalLM, but differs"):
        open_published(write(weights, config, tokenizer=tokenizer), Overrides(quantize="nf4"))


@torch.no_grad()
@pytest.mark.parametrize("has_ranks", [False, True])
def test_vary_base(golden, write, sizes_only, has_ranks):
    meta, tensors = golden("vary/vary_base_inputs").meta, golden("vary/vary_base_inputs").tensors
    width, vocabulary, mlp_width = meta["llm_hidden"], 480, 24
    shapes = {
        "transformer.wte.weight": (vocabulary, width),
        "transformer.h.0.ln_1.weight": (width,),
        "transformer.h.0.attn.c_attn.weight": (3 * width, width),
        "transformer.h.0.attn.c_attn.bias": (3 * width,),
        "transformer.h.0.attn.c_proj.weight": (width, width),
        "transformer.h.0.ln_2.weight": (width,),
        "transformer.h.0.mlp.w1.weight": (mlp_width, width),
        "transformer.h.0.mlp.w2.weight": (mlp_width, width),
        "transformer.h.0.mlp.c_proj.weight": (width, mlp_width),
        "transformer.ln_f.weight": (width,),
        "lm_head.weight": (vocabulary, width),
    }
    language = {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    masks = {
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.0.attn.bias": torch.ones(1, 1, 4, 4),
    }
    vision = golden.strip(tensors, "w.")
    vision["transformer.vision_tower.vision_model.embeddings.position_ids"] = torch.arange(10)[None]
    config = {
        "model_type": "mmgpt",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * mlp_width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "seq_length": 512,
        "kv_channels": width // 2,
        "no_bias": True,
    }
    special = {"<|im_start|>": 72, "<|im_end|>": 73, "<img>": 77, "</img>": 78, "<imgpad>": 79}
    folder = write(vision | language | masks, config, shards=3, tokenizer=vary_tokenizer(vocabulary, special))
    if has_ranks:
        (folder / "tokenizer.json").unlink()
        ranks = [base64.b64encode(bytes([number])).decode() + f" {number}" for number in range(256)]
        (folder / "qwen.tiktoken").write_text("\n".join(ranks))
    model = open_published(folder, Overrides(encoder=sizes_only(**meta["clip"])))
    plan = model.processor.plan
    assert isinstance(plan, VaryPlan)
    assert (plan.size, plan.crop, plan.resample) == (72, 12, "bicubic")
    assert (model.processor.template, model.processor.max_length) == ("vary", 512)
    assert len(model.processor.tokenizer) == (256 + 217 if has_ranks else vocabulary)
    question = model.processor.encode_prompt([Image.new("RGB", (9, 9))], [Turn("user", "<image>What?")])
    placeholders = (question.input_ids == IMAGE_TOKEN_ID).nonzero().flatten()
    around = [int(question.input_ids[placeholders[0] - 1]), int(question.input_ids[placeholders[-1] + 1])]
    assert around == model.processor.tokenizer.convert_tokens_to_ids(["<img>", "</img>"])
    pairs = zip(tensors["pixel_values_clip"], tensors["pixel_values_vary"], strict=True)
    tokens = model.visual_tokens([view for pair in pairs for view in pair])
    close(torch.stack(tokens), tensors["image_tokens"])
    layer = model.language_model.model.layers[0]
    first, second, third = language["transformer.h.0.attn.c_attn.weight"].chunk(3)
    assert torch.equal(layer.self_attn.q_proj.weight, first)
    assert torch.equal(layer.self_attn.k_proj.weight, second)
    assert torch.equal(layer.self_attn.v_proj.weight, third)
    assert torch.equal(layer.mlp.gate_proj.weight, language["transformer.h.0.mlp.w2.weight"])
    check_quantised(folder, sizes_only(**meta["clip"]))


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [(1, 0), (2, 0), (3, 0), (2, 2)],
)
def test_projectors_of_every_depth(write, depth, blocks):
    """`linear`, `mlpNx_gelu` and `mlpNx_resMx_gelu`, in a whole checkpoint and as a separate file."""
    torch.manual_seed(5)
    reference = MlpProjector(64, 40, depth=depth, residual_blocks=blocks)
    published = {name.removeprefix("layers."): tensor for name, tensor in reference.state_dict().items()}
    if depth == 1:
        published = {name.removeprefix("0."): tensor for name, tensor in published.items()}
    tensors = {n: t for n, t in in_layout(theirs(), "original").items() if "mm_projector" not in n}
    tensors |= {f"model.mm_projector.{name}": tensor for name, tensor in published.items()}
    model = open_published(write(tensors, LLAVA))
    for name, tensor in reference.state_dict().items():
        assert torch.equal(model.connector.state_dict()[name], tensor)
    for prefix in ("model.mm_projector.", "base_model.model.model.mm_projector.", "mm_projector."):
        nn.init.zeros_(model.connector.layers[0].weight)
        file = write({}, {}, name="file") / "mm_projector.safetensors"
        save_file({f"{prefix}{name}": tensor.contiguous() for name, tensor in published.items()}, file)
        load_projector(model, file)
        assert torch.equal(model.connector.layers[0].weight, reference.layers[0].weight)


def test_projector_files_that_do_not_fit(write, tmp_path):
    model = open_published(write(in_layout(theirs(), "original"), LLAVA))
    good = {f"model.mm_projector.{number}.weight": torch.zeros(40, 64 if number == 0 else 40) for number in (0, 2)}
    good |= {f"model.mm_projector.{number}.bias": torch.zeros(40) for number in (0, 2)}
    file = tmp_path / "mm_projector.safetensors"
    for tensors, message in (
        (
            good | {"model.embed_tokens.weight": torch.zeros(2, 2)},
            "in addition to a projector: embeddings there belong to marks",
        ),
        (good | {"model.mm_projector.4.weight": torch.zeros(40, 40)}, r"1 unexpected: layers\.4\.weight"),
        (good | {"model.image_newline": torch.zeros(40)}, r"\(merge\) does not fit Module; tensors 1 unexpected"),
        ({"model.layers.0.weight": torch.zeros(1)}, "holds .* in addition to a projector"),
    ):
        save_file(tensors, file)
        with pytest.raises(ValueError, match=message):
            load_projector(model, file)
    with pytest.raises(ValueError, match=r"python -m recipes\.convert .*mm_projector\.bin mm_projector\.safetensors"):
        load_projector(model, tmp_path / "mm_projector.bin")
    with pytest.raises(ValueError, match="is a file, a model is a folder: for a projector alone"):
        open_published(file)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tensor_is_accounted_for(write, layout):
    reference = theirs()
    good, config = in_layout(reference, layout), config_in(reference, layout)
    norm = next(name for name in good if name.endswith("l.norm.weight"))
    query = norm.replace("norm.weight", "layers.1.self_attn.q_proj.weight")
    tower = next(name for name in good if name.endswith("pre_layrnorm.weight"))
    projector = next(name for name in good if "projector" in name and name.endswith("bias"))

    def without(name):
        return {other: tensor for other, tensor in good.items() if other != name}

    for tensors, message in (
        (without(norm), r"\(language model\) does not fit LlamaForCausalLM; tensors 1 missing: model\.norm\.weight"),
        (without(tower), r"\(encoder\) does not fit VisionTransformer; tensors 1 missing: pre_norm\.weight"),
        (without(projector), r"\(connector\) does not fit MlpProjector; tensors 1 missing: layers\.0\.bias"),
        (good | {norm.replace("norm.", "norms."): torch.zeros(1)}, r"tensors 1 unexpected: model\.norms\.weight"),
        (
            good | {query: torch.zeros(40, 7)},
            r"1 of another shape: .*q_proj.weight is \(40, 7\), the model's is \(40, 40\)",
        ),
        (good | {tower.replace("layrnorm", "laynorm"): torch.zeros(1)}, r"1 tensors of unknown name"),
        (good | {"extra.weight": torch.zeros(1)}, r"1 tensors belong to no part, among them \['extra\.weight'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            open_published(write(tensors, config, shards=2))


def test_folders_that_are_something_else(write, tmp_path):
    whole = theirs()
    state = whole.state_dict()
    language = {
        "model." + n.removeprefix("model.language_model."): t for n, t in state.items() if "language_model" in n
    }
    language["lm_head.weight"] = state["lm_head.weight"]
    tower = {
        "vision_model." + n.removeprefix("model.vision_tower."): t for n, t in state.items() if "vision_tower" in n
    }
    projector = {n: t for n, t in in_layout(whole, "original").items() if "mm_projector" in n}
    for number, (tensors, config, message) in enumerate(
        (
            (language, {"model_type": "llama"}, "a language model alone: foveal.models.pretrained_language_model"),
            (tower, {"model_type": "clip_vision_model"}, r"an encoder alone: foveal\.encoders\.clip_vit"),
            (projector, LLAVA, r"a projector without the rest.*load_projector\(model, path\)"),
            (state, {"model_type": "llava"}, r"describes no language model \(text_config\) or tower"),
            ({"a": torch.zeros(1)}, {}, "not a known vision-language model"),
        )
    ):
        folder = write(tensors, config, name=f"folder{number}")
        with pytest.raises(ValueError, match=message):
            open_published(folder)
    bare = tmp_path / "bare"
    bare.mkdir()
    assert not is_published(bare)
    with pytest.raises(ValueError, match=r"has no config\.json"):
        open_published(bare)
    (bare / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        open_published(bare)
    (bare / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a configuration: it holds list"):
        open_published(bare)
    (bare / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="there are no weights"):
        open_published(bare)
    torch.save({}, bare / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin: .* python -m recipes\.convert .* NEW_FOLDER"):
        open_published(bare)


def test_which_names_are_published_ones(tmp_path, write):
    assert is_published("llava-hf/llava-1.5-7b-hf")
    for name in ("runs/llava/version_0/checkpoint", "checkpoint", str(tmp_path / "missing")):
        assert not is_published(name)
    folder = write({}, {})
    assert is_published(folder)
    (folder / "config.yaml").write_text("format: 1")
    assert not is_published(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"s2": True}, "views of several scales"),
        ({"mm_resampler_type": "spatial_pool"}, "a resampler before the projector cannot be read"),
        ({"deepstack_args_for_ablation": "deepstack_vit"}, "an ablation of DeepStack's cannot be read"),
        ({"model_type": "llava_mpt"}, "model_type is 'llava_mpt', known are llava, llava_llama"),
        ({"mm_vision_select_feature": "slicefour_patch"}, "only patch and cls_patch can be read"),
        ({"mm_patch_merge_type": "nobase"}, "'nobase' is not known for image_aspect_ratio pad"),
        ({"image_aspect_ratio": "anyres_big"}, "expected anyres or anyres_max_N"),
        ({"image_aspect_ratio": "highres"}, "views of several resolutions cannot be read"),
        ({"image_aspect_ratio": "crop_split"}, "overlapping crops cannot be read"),
        (
            {"image_aspect_ratio": "anyres"},
            "image_grid_pinpoints None must be pairs of pixels, multiples of the view's 28",
        ),
        ({"image_aspect_ratio": "anyres", "mm_patch_merge_type": "nobase"}, "merged spatial_unpad, spatial or flat"),
        (
            {"image_aspect_ratio": "deepstack", "is_anyres_deepstack": True, "deepstack_sampling": "1d"},
            "only 2d is known",
        ),
    ],
)
def test_configurations_that_say_something_else(write, fields, message):
    with pytest.raises(ValueError, match=message):
        open_published(write(in_layout(theirs(), "original"), LLAVA | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vision_feature_layer": [-2, -3]}, "does not fit Chain"),
        ({"vision_feature_select_strategy": "other"}, "expected default or full"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act is 'relu', only 'gelu' can be read"),
        ({"multimodal_projector_bias": False}, "only True can be read"),
    ],
)
def test_configurations_of_transformers_that_say_something_else(write, fields, message):
    reference = theirs()
    with pytest.raises(ValueError, match=message):
        open_published(write(in_layout(reference, "legacy"), reference.config.to_dict() | fields))


@torch.no_grad()
@pytest.mark.parametrize("layout", ["legacy", "original"])
def test_the_class_token_is_kept(write, layout):
    reference = theirs(vision_feature_select_strategy="full")
    config = config_in(reference, layout) | ({"mm_vision_select_feature": "cls_patch"} if layout == "original" else {})
    model = open_published(write(in_layout(reference, layout), config))
    pixels = torch.randn(2, 3, SIZE, SIZE)
    ids, their_ids = prompts(tokens=17)
    close(model(ids, list(pixels)), reference(input_ids=their_ids, pixel_values=pixels).logits)


def test_canvases_in_every_spelling():
    expected = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]
    assert canvases(PINPOINTS, 28, source="a") == expected
    assert canvases(str(PINPOINTS), 28, source="a") == expected
    assert canvases("(1x1),...,(2x3)", 28, source="a") == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]
    for wrong in ("tiles", "(1x1),...,(100000x100000)", [[28]], [[28, 30]], None, 5):
        with pytest.raises(ValueError, match="a: image_grid_pinpoints"):
            canvases(wrong, 28, source="a")


def test_onevision_s_largest_map(write):
    reference = theirs(LlavaNextForConditionalGeneration, image_grid_pinpoints=PINPOINTS)
    config = LLAVA | {"image_aspect_ratio": "anyres_max_9", "mm_patch_merge_type": "spatial_unpad"}
    model = open_published(
        write(in_layout(reference, "original"), config | {"image_grid_pinpoints": "(1x1),...,(3x3)"})
    )
    assert isinstance(model.merge, AnyResMerge)
    assert model.merge.max_tiles == 9
    assert len(model.processor.plan.candidates) == 9


def test_what_others_have_quantised(write):
    reference = theirs()
    config = reference.config.to_dict() | {"quantization_config": {"quant_method": "awq"}}
    with pytest.raises(ValueError, match=r"quantised by 'awq' .*take the folder that they were made from"):
        open_published(write(in_layout(reference, "legacy"), config))


def test_prompts_follow_the_language_model(write):
    """LLaVA-1.6 34B is a LLaMA with ChatML's tokens; Mistral's prompts have no system text; LLaMA 3 has its own."""
    reference = theirs()
    tensors, config = in_layout(reference, "legacy"), reference.config.to_dict()
    chat = byte_tokenizer(["<|im_start|>", "<|im_end|>"])
    model = open_published(write(tensors, config, tokenizer=chat))
    sample = model.processor.encode_prompt([Image.new("RGB", (5, 5))], [Turn("user", "<image>\nWhat?")])
    ids = [token for token in sample.input_ids.tolist() if token != IMAGE_TOKEN_ID]
    assert chat.decode(ids) == (
        "<s><|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n\nWhat?<|im_end|>"
        "<|im_start|>assistant\n"
    )
    text = {**config["text_config"], "model_type": "mistral", "sliding_window": None}
    mistral = open_published(write(tensors, config | {"text_config": text}))
    sample = mistral.processor.encode_prompt([Image.new("RGB", (5, 5))], [Turn("user", "<image>\nWhat?")])
    ids = [token for token in sample.input_ids.tolist() if token != IMAGE_TOKEN_ID]
    assert byte_tokenizer().decode(ids) == "<s>[INST] \nWhat? [/INST]"
    third = byte_tokenizer(["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    assert open_published(write(tensors, config, tokenizer=third)).processor.template == "llama_3"
    tiles = {"image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial_unpad", "image_grid_pinpoints": PINPOINTS}
    next_llava = theirs(LlavaNextForConditionalGeneration, image_grid_pinpoints=PINPOINTS)
    folder = write(in_layout(next_llava, "original"), LLAVA | tiles, tokenizer=third)
    assert open_published(folder).processor.template == "llava_llama_3"
    assert open_published(folder, Overrides(template="plain")).processor.template == "plain"
    with pytest.raises(ValueError, match="the prompts that a gpt_neox was trained with are not known: pass `template`"):
        prompt_of("gpt_neox", byte_tokenizer(), has_tiles=False, source="a")


def test_damaged_files(write, tmp_path):
    reference = theirs()
    folder = write(in_layout(reference, "legacy"), reference.config.to_dict(), shards=2)
    index = folder / "model.safetensors.index.json"
    good = index.read_text()
    content = json.loads(good)
    content["weight_map"]["promised"] = "model-00001-of-00002.safetensors"
    for text, message in (
        (json.dumps(content), r"1 tensors that the index names are in no file: \['promised'\]"),
        ("{}", "is damaged or not an index of shards"),
        (json.dumps({"weight_map": {"a": "../b.safetensors"}}), "shards must be in the folder of their index"),
        (json.dumps({"weight_map": {"a": "b.safetensors"}}), "the index names 1 files, 1 are missing"),
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=message):
            StoredTensors(folder)
    index.write_text(good)
    second = folder / "model-00002-of-00002.safetensors"
    second.write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"is in model-00001-of-00002\.safetensors too"):
        StoredTensors(folder)
    second.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        StoredTensors(folder)


def test_only_what_is_asked_for_is_read(write):
    reference = theirs()
    weights = StoredTensors(write(in_layout(reference, "in memory"), {}, shards=3))
    assert weights.shapes == {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    wanted = {"lm_head.weight", "model.language_model.norm.weight"}
    read = dict(weights.stream(wanted))
    assert set(read) == wanted
    assert torch.equal(read["lm_head.weight"], reference.lm_head.weight)
    assert weights.dtype(wanted) == torch.float32
    assert weights.dtype([]) == torch.float32


def test_a_built_model_of_other_parts_is_opened_like_its_own(write):
    """An opened model is an ordinary model: its parts can be used in another one."""
    model = open_published(write(in_layout(theirs(), "original"), LLAVA))
    again = VisionLanguageModel(
        VisionTransformer(64, 3, 1, 48, PATCH, SIZE),
        MlpProjector,
        model.language_model,
        model.processor.tokenizer,
        PadToSquare(SIZE),
        max_length=256,
    )
    load_exact(again.encoder, model.encoder.state_dict(), source="opened")
    load_exact(again.connector, model.connector.state_dict(), source="opened")


@pytest.mark.parametrize("shards", [1, 3])
def test_one_file_is_open_at_a_time(write, monkeypatch, shards):
    """So that no more than the model and one file are in memory."""
    reference = theirs()
    folder = write(in_layout(reference, "legacy"), reference.config.to_dict(), shards=shards)
    opened, most = [], []
    real = reading.safe_open

    class Counted:
        def __init__(self, file, framework):
            self.file = real(file, framework=framework)

        def __enter__(self):
            opened.append(self)
            most.append(len(opened))
            return self.file.__enter__()

        def __exit__(self, *error):
            opened.remove(self)
            return self.file.__exit__(*error)

    monkeypatch.setattr(reading, "safe_open", Counted)
    open_published(folder)
    assert max(most) == 1
    assert not opened


@pytest.fixture
def ranks_file(bpe_folder, tmp_path):
    """A byte-level vocabulary in Qwen's format."""
    vocabulary = json.loads((bpe_folder / "vocab.json").read_text())
    byte_of = {letter: number for number, letter in enumerate(letters())}
    by_rank = sorted((rank, token) for token, rank in vocabulary.items())
    lines = [
        base64.b64encode(bytes(byte_of[letter] for letter in token)) + b" " + str(rank).encode()
        for rank, token in by_rank
    ]
    path = tmp_path / "qwen.tiktoken"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path, len(lines)


def letters():
    """GPT-2's letters for bytes, as in the library."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    table = bytes_to_unicode()
    return [table[byte] for byte in range(256)]


def test_qwen_s_tokenizer_without_its_code(bpe_folder, ranks_file):
    path, size = ranks_file
    ours = qwen_tokenizer(path)
    gpt2 = AutoTokenizer.from_pretrained(bpe_folder, tokenizer_type="gpt2")
    # Where the two split text alike, they are the same vocabulary.
    for text in (
        "A chat between a curious user and an assistant",
        "unbelievably extraordinary",
        "Ünïcödé wörds",
        "日本語",
    ):
        assert ours(text)["input_ids"] == gpt2(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == text
    assert len(ours("2024")["input_ids"]) == 4
    assert len(ours("a\u0301")["input_ids"]) == len(ours("á")["input_ids"])
    ids = ours.convert_tokens_to_ids(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<ref>", "<img>", "</img>", "<imgpad>"]
    )
    # In Qwen's own file of 151643 tokens: 151643, 151644, 151645, 151851, 151857, 151858, 151859.
    assert [number - size + 151643 for number in ids] == [151643, 151644, 151645, 151851, 151857, 151858, 151859]
    assert ours("<img></img>")["input_ids"] == ids[4:6]
    assert ours.pad_token_id == ids[0]


def test_ranks_that_are_damaged(tmp_path):
    path = tmp_path / "qwen.tiktoken"
    for content, message in (
        (b"YQ== 0\n!! 1", "is damaged or not a list of tokens"),
        (b"YQ==", "is damaged"),
        (b"YQ== 0\nYg== 2", "2 tokens whose ranks are not"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            qwen_tokenizer(path)
