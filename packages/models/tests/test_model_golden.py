"""LLaVA and LLaVA-UHD end to end against reference outputs, and LLaVA against transformers' own."""

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from foveal.connectors import MlpProjector, PerceiverResampler, SpatialResampler
from foveal.connectors.resampler import UHD
from foveal.core import load_exact
from foveal.encoders import VisionTransformer, clip_weights
from foveal.models import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    Batch,
    PadToSquare,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
)
from foveal.models.published import load_llava


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.fixture
def tiny_llava(reference_llava):
    def build(keep_class_token=False):
        weights = "llava/tiny_llava_weights"
        return reference_llava("llava/tiny_llava", PadToSquare, weights=weights, keep_class_token=keep_class_token)

    return build


def merged(tensors, case, tokens_per_image):
    """The reference's samples in our form: one placeholder per visual token, without its dummy pictures."""
    ids, labels, mask = (tensors[f"{case}.{name}"] for name in ("input_ids", "labels", "attention_mask"))
    rows, row_labels, used, position = [], [], [], 0
    for row, row_label, row_mask in zip(ids, labels, mask.bool(), strict=True):
        row, row_label = row[row_mask], row_label[row_mask]
        repeats = torch.where(row == IMAGE_TOKEN_ID, tokens_per_image, 1)
        pictures = int((row == IMAGE_TOKEN_ID).sum())
        used += range(position, position + pictures)
        position += max(pictures, 1)
        rows.append(row.repeat_interleave(repeats))
        row_labels.append(row_label.repeat_interleave(repeats))
    return rows, row_labels, used


@torch.no_grad()
@pytest.mark.parametrize("case", ["pair", "mixed", "left", "cls_patch"])
def test_llava(golden, tiny_llava, case):
    keep = case == "cls_patch"
    model = tiny_llava(keep)
    tensors = golden("llava/tiny_llava_cls_patch_io" if keep else "llava/tiny_llava_io").tensors
    images = tensors["mixed.images" if case == "left" else f"{case}.images"]
    rows, labels, used = merged(tensors, case, 17 if keep else 16)
    side = "left" if case == "left" else "right"
    pad = nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=0, padding_side=side)
    mask = pad([torch.ones(len(row)) for row in rows], batch_first=True, padding_side=side).bool()
    assert torch.equal(mask, tensors[f"{case}.merged_attention_mask"].bool())
    views = [images[number] for number in used]
    close(model.embed(ids, views).embeddings[mask], tensors[f"{case}.merged_embeds"][mask])
    close(model(ids, views, mask)[mask], tensors[f"{case}.logits"][mask])
    targets = pad(labels, batch_first=True, padding_value=IGNORE_INDEX, padding_side=side)
    assert torch.equal(targets, tensors[f"{case}.merged_labels"])
    loss = model.loss(Batch(ids, targets, mask, tuple(views), ("",) * len(ids)))
    close(loss.total / loss.tokens, tensors[f"{case}.loss"].squeeze())


@torch.no_grad()
def test_llava_cut_to_a_length(golden, tiny_llava):
    """The reference may truncate inside a picture, which is refused here; the values up to the cut are the same."""
    model = tiny_llava()
    tensors = golden("llava/tiny_llava_io").tensors
    limit = golden("llava/tiny_llava").meta["truncated_case_max_length"]
    rows, _, used = merged(tensors, "truncated", 16)
    views = [tensors["mixed.images"][number] for number in used]
    mask = tensors["truncated.merged_attention_mask"].bool()
    for number, row in enumerate(rows):
        count = int((row == IMAGE_TOKEN_ID).sum()) // 16
        embedded = model.embed(row[None], [views.pop(0) for _ in range(count)]).embeddings[:, :limit]
        close(embedded[0], tensors["truncated.merged_embeds"][number][mask[number]])
        logits = model.language_model(inputs_embeds=embedded).logits
        close(logits[0], tensors["truncated.logits"][number][mask[number]])


@torch.no_grad()
@pytest.mark.parametrize(("kind", "name"), [(SpatialResampler, "release"), (PerceiverResampler, "paper")])
def test_uhd_from_pixels_to_tokens(golden, kind, name):
    reference = golden("uhd/end_to_end")
    meta, tensors = reference.meta, reference.tensors
    vision, sizes = meta["vision"], meta["projector"]
    encoder = VisionTransformer(
        vision["hidden_size"],
        vision["num_hidden_layers"],
        vision["num_attention_heads"],
        vision["intermediate_size"],
        vision["patch_size"],
        vision["image_size"],
    )
    side = sizes[f"{name}_grid"]
    model = VisionLanguageModel(
        encoder,
        lambda i, o: kind(i, o, queries=side * side, heads=sizes["num_heads"]),
        llama(260, width=sizes["embed_dim"], depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        UhdPlan(meta["scale"], meta["patch"], meta["max_slices"]),
    ).eval()
    tower = golden.strip(tensors, "w.model.vision_tower.vision_tower.")
    load_exact(encoder, clip_weights(tower, encoder, source="reference"), source="reference")
    published = "w.model.mm_projector." if name == "release" else "w.paper_projector."
    load_exact(model.connector, UHD.read(golden.strip(tensors, published)), source="reference")
    image = Image.fromarray(tensors["image"].numpy())
    sample = model.processor.encode_prompt([image], [Turn("user", "<image>")])
    close(torch.stack(model.visual_tokens(sample.views)), tensors[f"{name}.tokens"])


def transformers_llava(dtype=torch.float32):
    torch.manual_seed(3)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=28,
            patch_size=7,
        ),
        text_config=LlamaConfig(
            vocab_size=272,
            hidden_size=40,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            rms_norm_eps=1e-5,
            max_position_embeddings=256,
        ),
        image_token_index=271,
    )
    model = LlavaForConditionalGeneration(config).to(dtype).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.15)
    return model


def ours_like(theirs):
    config = theirs.config
    vision, text = config.vision_config, config.text_config
    model = VisionLanguageModel(
        VisionTransformer(
            vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads, vision.intermediate_size, 7, 28
        ),
        MlpProjector,
        llama(
            text.vocab_size,
            width=text.hidden_size,
            depth=text.num_hidden_layers,
            heads=text.num_attention_heads,
            mlp_width=text.intermediate_size,
            context=text.max_position_embeddings,
        ),
        byte_tokenizer(),
        PadToSquare(28),
        max_length=256,
    )
    load_llava(model, dict(theirs.state_dict()), source="transformers")
    return model.eval()


@torch.no_grad()
def test_side_by_side_with_transformers():
    theirs = transformers_llava()
    ours = ours_like(theirs)
    pixels = torch.randn(2, 3, 28, 28)
    text = torch.randint(5, 260, (2, 9))
    ids = torch.cat([text[:, :3], torch.full((2, 16), IMAGE_TOKEN_ID), text[:, 3:]], dim=1)
    their_ids = ids.masked_fill(ids == IMAGE_TOKEN_ID, 271)
    mask = torch.ones_like(ids, dtype=torch.bool)
    logits = theirs(input_ids=their_ids, pixel_values=pixels, attention_mask=mask.long()).logits
    assert logits.std() > 0.1
    close(ours(ids, list(pixels), mask), logits)
    batch = Batch(ids, ids, mask, tuple(pixels), ("a", "b"))
    greedy = theirs.generate(
        input_ids=their_ids,
        pixel_values=pixels,
        attention_mask=mask.long(),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=ours.processor.stop_ids,
        pad_token_id=ours.processor.pad_id,
    )[:, ids.shape[1] :]
    texts = generate(ours, batch, max_new_tokens=12)
    assert texts == [ours.processor.decode(row) for row in greedy]
    assert len(set(greedy.flatten().tolist())) > 4


def test_every_layout_of_a_published_checkpoint_is_read():
    theirs = transformers_llava()
    ours = ours_like(theirs)
    state = dict(theirs.state_dict())
    legacy = {
        name.replace("model.language_model.", "language_model.model.")
        .replace("model.vision_tower.", "vision_tower.vision_model.")
        .replace("model.multi_modal_projector.", "multi_modal_projector.")
        .replace("lm_head.", "language_model.lm_head."): value
        for name, value in state.items()
    }
    original = {
        name.replace("model.language_model.", "model.")
        .replace("model.vision_tower.", "model.vision_tower.vision_tower.vision_model.")
        .replace("model.multi_modal_projector.linear_1.", "model.mm_projector.0.")
        .replace("model.multi_modal_projector.linear_2.", "model.mm_projector.2."): value
        for name, value in state.items()
    }
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    for tensors in (legacy, original | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(5)}):
        for weight in ours.parameters():
            nn.init.zeros_(weight)
        load_llava(ours, tensors, source="file")
        assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())
    del original["model.norm.weight"]
    with pytest.raises(ValueError, match=r"file \(language model\) does not fit .* 1 missing: model\.norm\.weight"):
        load_llava(ours, original, source="file")
    with pytest.raises(ValueError, match="no projector"):
        load_llava(ours, {"a": torch.zeros(1)}, source="file")
