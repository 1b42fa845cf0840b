"""LLaVA-NeXT: the merge of tiles against the reference, with token counts for every kind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.connectors import MlpProjector, QFormer
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResMerge,
    AnyResPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from foveal.models.prompts.token_count import TokenCount


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.fixture
def tiny(reference_llava):
    weights = "llava/tiny_llava_anyres_weights"
    return reference_llava("llava/tiny_llava_anyres", AnyResPlan, weights=weights, merge=AnyResMerge)


@torch.no_grad()
def test_from_tiles_to_logits(golden, tiny):
    meta, tensors = golden("llava/tiny_llava_anyres").meta, golden("llava/tiny_llava_anyres_io").tensors
    views, sizes = list(tensors["images"]), [Size(*size) for size in meta["image_sizes_wh"]]
    close(torch.stack(tiny.visual_tokens(views)), tensors["image_features"])
    pictures = tiny.merged(views, sizes)
    for number, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        close(picture.tokens, tensors[f"packed_features.{number}"])
        assert tiny.processor.count(size) == [meta["tokens_per_image"][number]]
        assert len(tiny.processor.plan.views(size)) == meta["tiles_per_image"][number]
    rows, used = [], 0
    for row, valid in zip(tensors["input_ids"], tensors["attention_mask"].bool(), strict=True):
        repeats = torch.ones_like(row)
        for place in (row == IMAGE_TOKEN_ID).nonzero().squeeze(1):
            repeats[place] = meta["tokens_per_image"][used]
            used += 1
        rows.append(row.repeat_interleave(repeats * valid))
    mask = tensors["merged_attention_mask"].bool()
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    assert ids.shape == mask.shape
    close(tiny(ids, views, mask, sizes=sizes)[mask], tensors["logits"][mask])


def test_token_table(golden):
    """A patch of one pixel would change the choice of the canvas, so the plan works at the table's own size."""
    meta = golden("llava/anyres_table").meta
    with torch.device("meta"):
        encoder = VisionTransformer(8, 1, 1, 8, 14, 336, layers=(-1,))
        counts = {
            kind: TokenCount(encoder, MlpProjector(8, 8), AnyResPlan(), AnyResMerge(8, kind=kind))
            for kind in ("flat", "spatial", "spatial_unpad")
        }
        swapped = TokenCount(encoder, MlpProjector(8, 8), AnyResPlan(tie_order="height_first"), AnyResMerge(8))
    for row in meta["rows"]:
        size = Size(row["width"], row["height"])
        for kind, count in counts.items():
            assert count(size) == [row[f"tokens_{kind}"]], size
        assert swapped(size) == [row["transformers_tokens"]], size


def test_token_table_with_most_tiles(golden):
    meta = golden("llava/anyres_table").meta["anyres_max"]
    plan = AnyResPlan(meta["tile"], [(columns, rows) for columns in range(1, 7) for rows in range(1, 7)])
    with torch.device("meta"):
        # 384 px and 27 tokens a side: patches of 14 leave 6 px over, which our encoders refuse; they accept 27 * 14.
        encoder = VisionTransformer(8, 1, 1, 8, 14, 378, layers=(-1,))
        merge = AnyResMerge(8, max_tiles=9)
    grid = encoder.grid(Size(378, 378))
    assert grid == (27, 27)
    for row in meta["rows"]:
        size = Size(row["width"], row["height"])
        views = len(plan.views(size))
        assert merge.num_tokens([grid] * views, plan.tile_grid(size), size) == row["tokens"], size


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["flat", "spatial", "spatial_unpad"]),
    st.sampled_from([None, 1, 2]),
)
def test_as_many_tokens_as_promised(width, height, kind, most):
    merge = AnyResMerge(5, kind=kind, max_tiles=most if kind == "spatial_unpad" else None)
    plan, grid = AnyResPlan(28), (4, 4)
    size = Size(width, height)
    views = len(plan.views(size))
    tokens = [torch.randn(16, 5) for _ in range(views)]
    tile_grid = plan.tile_grid(size)
    merged = merge(tokens, [grid] * views, tile_grid, size)
    assert merged.tokens.shape == (merge.num_tokens([grid] * views, tile_grid, size), 5)
    assert not merged.stacks
    assert torch.equal(merged.tokens[:16], tokens[0])


def test_a_connector_without_a_plane_is_refused():
    def build(connector, **options):
        return VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28),
            connector,
            llama(260, width=32, depth=1, heads=2, mlp_width=32),
            byte_tokenizer(),
            AnyResPlan(28),
            merge=AnyResMerge,
            **options,
        )

    with pytest.raises(ValueError, match="QFormer do not form a grid, which a merge needs"):
        build(lambda i, o: QFormer(i, o, queries=4, hidden_width=16, depth=1, heads=2))
    with pytest.raises(ValueError, match="a picture becomes 60 tokens or more, the longest sequence has 50"):
        build(MlpProjector, max_length=50)


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="spatial_unpad, spatial or flat, not 'wild'"):
        AnyResMerge(8, kind="wild")
    with pytest.raises(ValueError, match="belongs to spatial_unpad, not to flat"):
        AnyResMerge(8, kind="flat", max_tiles=2)
