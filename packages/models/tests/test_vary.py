"""Vary against the reference: Vary-tiny as a whole, Vary-base up to the language model."""

import pytest
import torch
from torch import nn

from foveal.connectors import MlpProjector, Parallel
from foveal.connectors.mlp import LLAVA_LINEAR
from foveal.core import load_exact
from foveal.encoders import ParallelEncoder, SamViTDet, VisionTransformer, clip_weights, sam_weights
from foveal.models import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    Batch,
    VaryPlan,
    VisionLanguageModel,
    llama,
    opt,
)

VARY_TINY = "w.model.vision_tower_2."


def close(ours, reference, tolerance=1e-5):
    torch.testing.assert_close(ours, reference, atol=tolerance, rtol=0)


def linear(in_width, out_width):
    return MlpProjector(in_width, out_width, depth=1)


def sam_of(config):
    return SamViTDet(
        config["width"],
        config["layers"],
        config["heads"],
        config["patch_size"],
        config["image_size"],
        window=config["window_size"],
        global_blocks=tuple(config["global_attn_indexes"]),
        neck_width=config["out_chans"],
        downsample=tuple(config["downsample_channels"]),
        mlp_ratio=config["mlp_ratio"],
    )


@pytest.fixture
def tiny(golden, small_tokenizer):
    meta, tensors = golden("vary/vary_tiny").meta, golden("vary/vary_tiny").tensors
    sizes = meta["opt"]
    model = VisionLanguageModel(
        sam_of(meta["sam"]),
        linear,
        opt(
            sizes["vocab"],
            width=sizes["hidden"],
            depth=sizes["layers"],
            heads=sizes["heads"],
            mlp_width=sizes["ffn"],
            context=sizes["positions"],
        ),
        small_tokenizer(sizes["vocab"]),
        VaryPlan(meta["sam"]["image_size"], start="", end=""),
        template="vary_tiny",
        max_length=sizes["positions"],
    )
    tower = golden.strip(tensors, VARY_TINY)
    load_exact(model.encoder, sam_weights(tower, model.encoder, source="reference"), source="reference")
    projector = LLAVA_LINEAR.read(golden.strip(tensors, "w.model.mm_projector."), source="reference")
    load_exact(model.connector, projector, source="reference")
    decoder = {
        name.removeprefix("w."): value
        for name, value in tensors.items()
        if name.startswith(("w.model.decoder.", "w.lm_head."))
    }
    load_exact(model.language_model, decoder, source="reference")
    return model.eval()


def test_vary_tiny(golden, tiny):
    meta, tensors = golden("vary/vary_tiny").meta, golden("vary/vary_tiny").tensors
    ids = tensors["input_ids"].where(tensors["input_ids"] != meta["opt"]["imgpad"], IMAGE_TOKEN_ID)
    mask, labels, views = tensors["attention_mask"].bool(), tensors["labels"], tuple(tensors["pixel_values"])
    close(torch.stack(tiny.visual_tokens(views)), tensors["image_tokens"])
    close(tiny.embed(ids, views).embeddings[mask], tensors["inputs_embeds"][mask])
    close(tiny(ids, views, mask)[mask], tensors["logits"][mask], meta["tol_logits"])
    loss = tiny.loss(Batch(ids, labels, mask, views, ("", "")))
    mean = loss.total / loss.tokens
    close(mean[None], tensors["loss"])
    mean.backward()
    for ours, name in {
        "connector.layers.0.weight": "mm_projector.weight",
        "encoder.convolutions.0.weight": "vision_tower_2.net_2.weight",
        "encoder.blocks.0.rows": "vision_tower_2.blocks.0.attn.rel_pos_h",
    }.items():
        close(tiny.get_parameter(ours).grad, tensors[f"grad.model.{name}"], meta["grad_tol"])
    close(tiny.encoder.positions.grad, tensors["grad.model.vision_tower_2.pos_embed"][0], meta["grad_tol"])
    assert (labels[~mask] == IGNORE_INDEX).all()


@pytest.fixture
def base(golden, small_tokenizer):
    meta = golden("vary/vary_base_inputs").meta
    clip = meta["clip"]
    return VisionLanguageModel(
        ParallelEncoder(
            [
                VisionTransformer(
                    clip["hidden_size"],
                    clip["num_hidden_layers"],
                    clip["num_attention_heads"],
                    clip["intermediate_size"],
                    clip["patch_size"],
                    clip["image_size"],
                ),
                sam_of(meta["sam"]),
            ]
        ),
        lambda i, o: Parallel(i, o, branches=[linear, linear]),
        llama(70, width=meta["llm_hidden"], depth=1, heads=2, mlp_width=16),
        small_tokenizer(70),
        VaryPlan(meta["sam"]["image_size"], clip["image_size"], start="", end=""),
    ).eval()


@torch.no_grad()
def test_vary_base_up_to_the_language_model(golden, base):
    meta, tensors = golden("vary/vary_base_inputs").meta, golden("vary/vary_base_inputs").tensors
    clip, tower = base.encoder.encoders
    for encoder, read, prefix in (
        (clip, clip_weights, "w.transformer.vision_tower.vision_model."),
        (tower, sam_weights, "w.transformer.vision_tower_high."),
    ):
        found = read(golden.strip(tensors, prefix), encoder, source="reference")
        load_exact(encoder, found, source="reference")
    for branch, prefix in zip(base.connector.branches, ("mm_projector.", "mm_projector_vary."), strict=True):
        found = LLAVA_LINEAR.read(golden.strip(tensors, f"w.transformer.{prefix}"), source="reference")
        load_exact(branch, found, source="reference")
    small, large = tensors["pixel_values_clip"], tensors["pixel_values_vary"]
    maps = base.encoder(small, large)
    close(maps[0], tensors["clip_features"])
    close(maps[1], tensors["vary_features"])
    views = [view for pair in zip(small, large, strict=True) for view in pair]
    tokens = base.visual_tokens(views)
    close(torch.stack(tokens), tensors["image_tokens"])
    placeholders = tensors["input_ids"] == meta["ids"]["imgpad"]
    base.language_model.set_input_embeddings(Fixed(tensors["token_embeds"]))
    rows = placeholders.any(dim=1)
    ids = torch.zeros_like(placeholders, dtype=torch.long).masked_fill(placeholders, IMAGE_TOKEN_ID)
    shown = [view for row, has in enumerate(rows) if has for view in views[2 * row : 2 * row + 2]]
    close(base.embed(ids, shown).embeddings, tensors["inputs_embeds"])


class Fixed(nn.Module):
    """Returns the reference's embeddings, whatever is looked up."""

    def __init__(self, embeddings):
        super().__init__()
        self.embeddings = embeddings

    def forward(self, ids):
        return self.embeddings
