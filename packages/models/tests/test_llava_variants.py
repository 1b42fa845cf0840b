"""What folders of LLaVA's own code may say besides the usual: no projector, marks around pictures, a lone newline."""

import json
import logging

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from foveal.connectors import Identity, MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResMerge,
    AnyResPlan,
    MarkedPlan,
    MiniCpmPlan,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    load,
    save,
)
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.published import load_projector
from foveal.models.views.normalise import normalised

SIZE, WIDTH, VOCABULARY = 28, 64, 272
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "model_type": "llava",
    "mm_hidden_size": WIDTH,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_start_end": False,
    "mm_use_im_patch_token": False,
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "image_aspect_ratio": "pad",
}
MARKS = {"mm_use_im_start_end": True}
QUESTION = [Turn("user", "<image>\nWhat?")]
PICTURE = Image.linear_gradient("L").resize((40, 24)).convert("RGB")


@pytest.fixture
def parts():
    """The tower and the language model as transformers has them; every weight matters."""
    torch.manual_seed(3)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 1, "image_size": SIZE, "patch_size": 7}
    tower = CLIPVisionModel(CLIPVisionConfig(hidden_size=WIDTH, intermediate_size=48, **sizes)).eval()
    keys = set(LlamaConfig().to_dict()) - {"model_type"}
    language_model = LlamaForCausalLM(LlamaConfig(**{key: CONFIG[key] for key in CONFIG.keys() & keys})).eval()
    projector = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))
    for part in (tower, language_model, projector):
        for weight in part.parameters():
            nn.init.normal_(weight, std=0.15)
    return tower, language_model, projector


@pytest.fixture
def write(tmp_path, parts):
    tower, language_model, projector = parts

    def write(fields, more=None, tokenizer=None):
        tensors = {
            **language_model.state_dict(),
            **{f"model.vision_tower.vision_tower.vision_model.{n}": t for n, t in tower.state_dict().items()},
            **(more or {}),
        }
        if fields.get("mm_projector_type") != "identity":
            tensors |= {f"model.mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(CONFIG | fields))
        (tokenizer or byte_tokenizer()).save_pretrained(folder)
        return folder

    return write


def features(parts, view):
    """What LLaVA's code puts in the place of one view before the projector."""
    states = parts[0](view[None], output_hidden_states=True).hidden_states
    return states[-2][0, 1:]


@torch.no_grad()
def check(model, parts, folder, visual, ids_before, ids_after):
    """Logits beside transformers' language model given the embeddings by hand; in 4 bits and reloaded the same."""
    table = parts[1].get_input_embeddings()
    embeddings = torch.cat([table(torch.tensor(ids_before)), visual, table(torch.tensor(ids_after))])[None]
    expected = parts[1](inputs_embeds=embeddings).logits
    sample = model.processor.encode_prompt([PICTURE], QUESTION)
    assert sample.input_ids.tolist() == [*ids_before, *[IMAGE_TOKEN_ID] * len(visual), *ids_after]
    logits = model(sample.input_ids[None], sample.views, sizes=sample.sizes)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    first = load(folder, quantize="nf4-dq")
    again = load(save(first, folder.parent / "quantised"))
    assert recorded_kind(again.language_model.config) == "nf4-dq"
    batch = first.processor.collate([sample], side="left")
    assert torch.equal(*(each(batch.input_ids, batch.views, None, None, batch.sizes) for each in (first, again)))
    assert generate(first, batch, max_new_tokens=4) == generate(again, batch, max_new_tokens=4)


def text_ids(model, marks=((), ())):
    """Ids before and after the picture of `QUESTION`, with marks."""
    tokenizer, ids = model.processor.tokenizer, model.processor.encode_prompt([PICTURE], QUESTION).input_ids.tolist()
    first, last = ids.index(IMAGE_TOKEN_ID), len(ids) - ids[::-1].index(IMAGE_TOKEN_ID)
    before, after = (tokenizer.convert_tokens_to_ids(list(each)) for each in marks)
    text = ids[: first - len(before)], ids[last + len(after) :]
    assert tokenizer.decode(text[0]).endswith("USER: ")
    assert tokenizer.decode(text[1]) == "\nWhat? ASSISTANT:"
    return [*text[0], *before], [*after, *text[1]]


def view_of(model):
    (view,) = normalised(model.processor.encode_prompt([PICTURE], QUESTION).views, model.encoder)
    return view


@torch.no_grad()
def test_identity(write, parts):
    folder = write({"mm_projector_type": "identity"})
    model = load(folder)
    assert isinstance(model.connector, Identity)
    check(model, parts, folder, features(parts, view_of(model)), *text_ids(model))
    with pytest.raises(ValueError, match=r"does not fit Identity; tensors 1 unexpected: layers\.0\.weight"):
        load(write({"mm_projector_type": "identity"}, {"model.mm_projector.0.weight": torch.zeros(3, 3)}))


def test_identity_of_other_widths(write):
    with pytest.raises(ValueError, match="features of width 64 cannot enter a language model of width 32"):
        Identity(64, 32)


@torch.no_grad()
@pytest.mark.parametrize("has_patch_mark", [False, True])
@pytest.mark.parametrize("has_tokens", [False, True])
def test_marks_around_pictures(write, parts, has_patch_mark, has_tokens):
    """Their ids follow those of the vocabulary; what the tokenizer lacks is added in the order of LLaVA's code."""
    words = [*(["<im_patch>"] if has_patch_mark else []), "<im_start>", "<im_end>"]
    folder = write(MARKS | {"mm_use_im_patch_token": has_patch_mark}, None, byte_tokenizer(words if has_tokens else []))
    model = load(folder)
    assert isinstance(model.processor.plan, MarkedPlan)
    assert isinstance(model.processor.plan.plan, PadToSquare)
    ids = text_ids(model, (("<im_start>",), ("<im_end>",)))
    assert ids[0][-1] == 260 + has_patch_mark
    check(model, parts, folder, parts[2](features(parts, view_of(model))), *ids)
    assert isinstance(load(folder.parent / "quantised").processor.plan.plan, PadToSquare)


def test_marks_without_rows(write):
    with pytest.raises(ValueError, match="the tokenizer has 273 tokens, the language model embeddings for 272"):
        load(write(MARKS, None, byte_tokenizer([f"<{number}>" for number in range(11)])))


@torch.no_grad()
def test_a_newline_after_the_only_view(write, parts, caplog):
    newline = torch.randn(WIDTH)
    folder = write({"mm_patch_merge_type": "spatial_unpad"}, {"model.image_newline": newline})
    with caplog.at_level(logging.INFO, logger="foveal.models.published"):
        model = load(folder)
    assert "the newline comes after the only view, as in LLaVA-NeXT's code" in caplog.text
    assert isinstance(model.processor.plan, PadToSquare)
    visual = torch.cat([parts[2](features(parts, view_of(model))), newline[None]])
    check(model, parts, folder, visual, *text_ids(model))
    assert load(write({"mm_patch_merge_type": "spatial"})).merge is None
    with pytest.raises(ValueError, match="mm_patch_merge_type 'unpad_max' is not known for image_aspect_ratio pad"):
        load(write({"mm_patch_merge_type": "unpad_max"}))


def marked(plan=None, merge=None):
    return VisionLanguageModel(
        VisionTransformer(16, 2, 2, 16, 7, 14),
        MlpProjector,
        llama(264, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(["<im_start>", "<im_end>"]),
        plan or MarkedPlan(PadToSquare(14)),
        merge=merge,
        system="",
    )


def test_marks_around_one_run_of_tiles():
    """Marks before and after all views of a picture go together with a merge; a text between them does not."""
    model = marked(MarkedPlan(AnyResPlan(14)), AnyResMerge)
    sample = model.processor.encode_prompt([PICTURE, PICTURE], [Turn("user", "<image>\nAnd <image>?")])
    plain = marked(AnyResPlan(14), AnyResMerge).processor.encode_prompt(
        [PICTURE, PICTURE], [Turn("user", "<image>\nAnd <image>?")]
    )
    ids = sample.input_ids.tolist()
    assert [token for token in ids if token < 260] == plain.input_ids.tolist()
    assert [token for token in ids if token >= 260] == [260, 261, 260, 261]
    assert ids[ids.index(260) + 1] == ids[ids.index(261) - 1] == IMAGE_TOKEN_ID
    assert len(sample.views) == len(plain.views) > 4
    with pytest.raises(ValueError, match="must not be empty"):
        MarkedPlan(PadToSquare(14), end="")
    assert MarkedPlan(MiniCpmPlan()).before(2) == ("<image_id>", "2", "</image_id>")


@pytest.mark.parametrize("rows", [2, 266])
def test_a_projector_file_with_embeddings_of_marks(tmp_path, rows):
    """As LLaVA's code saves a stage 1 with marks: the whole table, or its two last rows."""
    model, other = marked(), marked()
    trained = {f"model.mm_projector.{n.removeprefix('layers.')}": t for n, t in other.connector.state_dict().items()}
    table = torch.randn(rows, 16)
    save_file(trained | {"model.embed_tokens.weight": table}, tmp_path / "mm_projector.safetensors")
    before = model.language_model.get_input_embeddings().weight.clone()
    load_projector(model, tmp_path / "mm_projector.safetensors")
    after = model.language_model.get_input_embeddings().weight
    assert torch.equal(after[260:262], table[-2:])
    assert torch.equal(after[:260], before[:260])
    assert torch.equal(model.connector.layers[0].weight, other.connector.layers[0].weight)
    with pytest.raises(ValueError, match="this model's prompts do not have"):
        load_projector(marked(PadToSquare(14)), tmp_path / "mm_projector.safetensors")
    save_file(trained | {"model.embed_tokens.weight": table[:, :5].clone()}, tmp_path / "narrow.safetensors")
    with pytest.raises(ValueError, match=rf"is \[{rows}, 5\], the language model's embeddings are \[264, 16\]"):
        load_projector(model, tmp_path / "narrow.safetensors")
