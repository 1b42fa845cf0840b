"""Relevance maps: the rules, and a Q-Former with a language model from end to end."""

import pytest
import torch

from foveal.connectors import HiwinAttention, PerceiverResampler, QFormer, SpatialResampler
from foveal.connectors.qformer import TRANSFORMERS
from foveal.connectors.relevance import (
    RecordedAttention,
    contribution,
    contributions,
    crossed,
    mixed,
    normalised,
    query_to_patch,
    rollout,
    text_to_query,
    window_to_patch,
)
from foveal.core import Grid, attention, load_exact


def close(ours, reference, atol=1e-5):
    torch.testing.assert_close(ours, reference, atol=atol, rtol=0, check_dtype=False)


def test_rules(golden):
    reference = golden("connectors/gae_rules")
    tensors, meta = reference.tensors, reference.meta

    def weights(name):
        return contribution(tensors[f"{name}.A"], tensors[f"{name}.gradA"])

    close(weights("encoder.0"), tensors["rule5_encoder0"], meta["tol"])
    image = torch.eye(meta["patches"], dtype=torch.float64)
    for number in range(meta["encoder_layers"]):
        image = image + mixed(weights(f"encoder.{number}"), image)
    close(image, tensors["R_ii"], meta["tol"])
    close(normalised(image), tensors["R_ii_normalised"], meta["tol"])

    queries, over_image = torch.eye(meta["queries"], dtype=torch.float64), torch.zeros(meta["queries"], meta["patches"])
    layers = [
        (weights(f"decoder.{number}.self"), weights(f"decoder.{number}.cross"))
        for number in range(meta["decoder_layers"])
    ]
    for own, cross in layers:
        queries, over_image = queries + mixed(own, queries), over_image + mixed(own, over_image.double())
        over_image = over_image + crossed(cross, queries, image)
    close(queries, tensors["R_qq"], meta["tol"])
    close(normalised(queries), tensors["R_qq_normalised"], meta["tol"])
    close(over_image, tensors["R_qi"], meta["tol"])
    close(query_to_patch(layers), tensors["R_qi_identity_image"], meta["tol"])


def test_single_rules_and_rollout(golden):
    reference = golden("connectors/gae_rules")
    tensors, tol = reference.tensors, reference.meta["tol"]
    weights = tensors["rule10.A"]
    sq = crossed(weights, tensors["rule10.R_ss"], tensors["rule10.R_qq"])
    close(sq, tensors["rule10.R_sq_addition"], tol)
    close(mixed(weights, tensors["rule10.R_qs"]), tensors["rule11.R_ss_addition"], tol)
    layers = [tensors[f"encoder.{number}.A"] for number in range(reference.meta["encoder_layers"])]
    close(rollout(layers), tensors["rollout_encoder"], tol)


@pytest.fixture
def explained(golden):
    """The reference's connector, a function from visual tokens to its model's output with `kind` of attention, data."""
    transformers = pytest.importorskip("transformers")
    reference = golden("connectors/gae_qformer_llm")
    tensors, meta = reference.tensors, reference.meta
    connector = QFormer(
        meta["enc"],
        meta["llm"],
        queries=meta["queries"],
        hidden_width=meta["hidden"],
        depth=meta["layers"],
        heads=meta["heads"],
        mlp_width=meta["inter"],
        cross_every=meta["freq"],
    )
    weights = golden.strip(tensors, "w.")
    language = {name.removeprefix("llm."): weights.pop(name) for name in list(weights) if name.startswith("llm.")}
    load_exact(connector, TRANSFORMERS.read(weights), source="reference")

    def answer(visual, kind):
        config = transformers.LlamaConfig(**meta["llama"], attn_implementation=kind)
        model = transformers.LlamaForCausalLM(config).eval()
        model.load_state_dict(language)
        model.requires_grad_(False)
        before, after = (model.get_input_embeddings()(tensors[f"ids_{side}"]) for side in ("before", "after"))
        embeds = torch.cat([before, visual, after], dim=1)
        return model(inputs_embeds=embeds, use_cache=False, output_attentions=kind == "eager")

    return connector.eval().requires_grad_(False), answer, reference


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_word_to_patches_through_qformer_and_language_model(explained, kind):
    connector, answer, reference = explained
    tensors, meta = reference.tensors, reference.meta
    with RecordedAttention() as recorded:
        visual = connector([tensors["features"]], [(3, 3)])
    with RecordedAttention() as recorded_language:
        out = answer(visual, kind)
    close(visual, tensors["visual_tokens"], meta["tol"])
    close(out.logits, tensors["logits"], meta["tol"])

    language = list(out.attentions) if kind == "eager" else recorded_language.probabilities
    assert len(language) == meta["llama"]["num_hidden_layers"]
    score = out.logits[0, meta["position"], meta["token"]]
    weights = iter(contributions(score, recorded.probabilities + language))
    (to_patches,) = connector.token_to_patch([Grid(3, 3)], weights)
    places = torch.arange(meta["before"], meta["before"] + meta["queries"])
    ours = {"text_to_query": text_to_query([each[0] for each in weights], meta["position"], places)}
    ours["query_to_patch"] = to_patches
    ours["text_to_patch"] = ours["text_to_query"] @ ours["query_to_patch"]
    for name, value in ours.items():
        close(value, tensors[name], meta["tol"])
        close(value / value.max(), tensors[name] / tensors[name].max(), 1e-4)
    close(ours["text_to_patch"] / ours["text_to_patch"].max(), tensors["text_to_patch_relative"], 1e-4)


def test_recording_changes_nothing():
    query, key, value = (torch.randn(2, 5, 4, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(2, 5) > 0.4
    mask[:, 0] = True
    for options in ({}, {"causal": True}, {"key_mask": mask}, {"causal": True, "key_mask": mask}, {"scale": 0.3}):
        with RecordedAttention() as recorded:
            seen = attention(query, key, value, **options)
        close(seen, attention(query, key, value, **options), 1e-12)
        (probabilities,) = recorded.probabilities
        assert probabilities.shape == (2, 4, 5, 5)
        close(probabilities.sum(dim=-1), torch.ones(2, 4, 5), 1e-12)


def test_recording_with_fewer_key_heads_and_an_added_mask():
    query = torch.randn(1, 4, 3, 8, dtype=torch.float64)
    key, value = (torch.randn(1, 2, 5, 8, dtype=torch.float64) for _ in range(2))
    added = torch.randn(3, 5, dtype=torch.float64)
    plain = torch.nn.functional.scaled_dot_product_attention
    with RecordedAttention():
        seen = plain(query, key, value, attn_mask=added, enable_gqa=True)
    close(seen, plain(query, key, value, attn_mask=added, enable_gqa=True), 1e-12)


def test_resampler_with_one_layer_is_that_layer():
    resampler = PerceiverResampler(8, 16, queries=4, heads=2).eval()
    with RecordedAttention() as recorded:
        tokens = resampler([torch.randn(1, 6, 8)], [(2, 3)])
    (weights,) = contributions(tokens[0, 1].square().sum(), recorded.probabilities)
    traced = query_to_patch([(None, weights[0])])
    assert traced.shape == (4, 6)
    close(traced, weights[0], 1e-12)
    assert traced[1].max() > 0
    assert not traced[[0, 2, 3]].any()  # the score depends on the second query only


@pytest.mark.parametrize("kind", [SpatialResampler, HiwinAttention])
def test_contributions_within_windows_lie_on_the_patches_of_the_window(kind):
    """With 2 x 2 queries on 4 x 6 cells, query (0, 1) sees the upper right corner, and no cell beyond its edges."""
    grids = [Grid(4, 6)] if kind is SpatialResampler else [Grid(4, 6), Grid(8, 12)]
    connector = kind(8 if len(grids) == 1 else (8, 8), 16, queries=4, heads=2).eval()
    maps = [torch.randn(1, grid.cells, 8) for grid in grids]
    with RecordedAttention() as recorded:
        tokens = connector(maps, grids)
    (weights,) = contributions(tokens[0, 1].square().sum(), recorded.probabilities)
    laid = window_to_patch(weights, grids)
    close(sum(each.sum() for each in laid), weights.sum(), 1e-9)  # every point lies inside of these maps
    for each, grid in zip(laid, grids, strict=True):
        plane = each.unflatten(1, grid)
        assert plane.shape == (4, *grid)
        assert not plane[[0, 2, 3]].any()
        inside = plane[1, : grid.rows // 2 + 1, grid.columns // 2 :]
        assert inside.sum() > 0
        close(inside.sum(), plane[1].sum(), 1e-9)


def test_windows_of_other_maps_are_refused():
    for weights in (torch.rand(4, 1, 5), torch.rand(5, 1, 6), torch.rand(4, 6)):
        with pytest.raises(ValueError, match=r"are not \[queries, queries of a window, 6 points\]"):
            window_to_patch(weights, [Grid(4, 6)])


def test_one_row_is_the_row_of_the_whole_matrix():
    layers = [torch.rand(7, 7, dtype=torch.float64).tril() for _ in range(4)]
    whole = torch.eye(7, dtype=torch.float64)
    for weights in layers:
        whole = whole + mixed(weights, whole)
    visual = torch.tensor([False, True, True, False, True, False, False])
    close(text_to_query(layers, 5, visual), whole[5, visual], 1e-12)


def test_rows_without_relevance_and_small_relevance():
    close(normalised(torch.eye(3)), torch.eye(3), 0)
    # Float32 would round the diagonal of I + weights to I and distribute only the remainder.
    pair = torch.tensor([[3e-9, 1e-9], [0.0, 0.0]])[None]
    weights = contribution(pair, torch.ones_like(pair))
    expected = torch.tensor([[1.75, 0.25], [0.0, 1.0]])
    close(normalised(torch.eye(2, dtype=torch.float64) + weights), expected, 1e-6)


def test_what_cannot_be_explained_is_refused():
    inner = torch.rand(2, 3, 3, requires_grad=True)
    with pytest.raises(ValueError, match="eager"):
        contributions(inner.sum(), [])
    with pytest.raises(ValueError, match="eager"):
        contributions(inner.sum(), [inner, None])
    with pytest.raises(ValueError, match=r"shape \(2, 3, 3\)"):
        contributions(inner * 2, [inner])
    with pytest.raises(ValueError, match="with gradients"):
        contributions(inner.sum().detach(), [inner])
    with pytest.raises(ValueError, match=r"attentions \[1\]"):
        contributions(inner.sum(), [inner, torch.rand(2, 3, 3, requires_grad=True)])
    with pytest.raises(ValueError, match="0 layers"):
        text_to_query([], 0, torch.tensor([0]))
    with pytest.raises(ValueError, match="one sample of the batch"):
        text_to_query([inner], 0, torch.tensor([0]))
    with pytest.raises(ValueError, match="attend to patches"):
        query_to_patch([(inner[0], None)])
    with pytest.raises(ValueError, match="of one sample"):
        query_to_patch([(None, inner)])
    query = torch.rand(1, 1, 2, 4)
    with RecordedAttention(), pytest.raises(ValueError, match=r"\.eval\(\)"):
        torch.nn.functional.scaled_dot_product_attention(query, query, query, dropout_p=0.1)
