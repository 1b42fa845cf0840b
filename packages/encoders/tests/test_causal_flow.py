"""The encoder whose queries are read by a language model: what sees what, and what is refused."""

import pytest
import torch

from foveal.core import Grid, Size, load_exact
from foveal.encoders import (
    CausalFlowEncoder,
    ParallelEncoder,
    SamViTDet,
    VisionTransformer,
    causal_flow_weights,
)


def tower():
    sizes = {"window": 3, "global_blocks": (1,), "neck_width": 8, "downsample": (12, 16)}
    return SamViTDet(16, 2, 2, 4, 64, **sizes)


def encoder(**options):
    torch.manual_seed(0)
    return CausalFlowEncoder(tower(), 2, 4, 2, 24, **{"query_sides": (2, 4)} | options).eval()


@torch.no_grad()
def test_what_sees_what():
    """Every query sees the whole view and the queries before it; the view sees no query."""
    model = encoder()
    seen, view = [], torch.randn(1, 3, 64, 64)
    model.blocks[-1].register_forward_hook(lambda _module, given, found: seen.append(found[:, : given[1]]))
    (before,) = model(view)
    model.queries[1].weight[9] += 1.0
    (after,) = model(view)
    assert torch.equal(before[:, :9], after[:, :9])
    assert (before[:, 9:] != after[:, 9:]).any(dim=-1).all()
    assert torch.equal(*seen)
    view[..., -4:, -4:] += 1.0
    (changed,) = model(view)
    assert (changed != after).any(dim=-1).all()


def test_views_of_two_sizes_have_their_own_queries():
    model = encoder()
    assert model.grids(Size(64, 64)) == (Grid(1, 16),)
    assert model.grids(Size(32, 32)) == (Grid(1, 4),)
    large, small = model.encode_views([torch.randn(3, 64, 64), torch.randn(3, 32, 32)])
    assert (large[0].shape, small[0].shape) == ((16, 16), (4, 16))
    with pytest.raises(ValueError, match="a grid of 3x3, there are queries for squares of 2, 4 only"):
        model.grids(Size(48, 48))
    with pytest.raises(ValueError, match="a grid of 4x2"):
        model(torch.zeros(1, 3, 64, 32))


def test_checkpointing_changes_nothing():
    views, gradients = torch.randn(1, 3, 32, 32), []
    for checkpointing in (False, True):
        model = encoder(checkpointing=checkpointing).train()
        model(views)[0].square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    assert all(torch.allclose(*pair, atol=1e-6) for pair in zip(*gradients, strict=True))


def published(model):
    """The released code's names of the weights beside the tower's."""
    names = {"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"}
    names |= {"out": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    names |= {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    found = {}
    for name, weight in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "blocks":
            number, ours, kind = rest.split(".")
            found[f"qwen2_model.model.model.layers.{number}.{names[ours]}.{kind}"] = weight
    found["qwen2_model.model.model.norm.weight"] = model.norm.weight
    found |= {"qwen2_model.query_768.weight": model.queries[0].weight}
    return found | {"qwen2_model.query_1024.weight": model.queries[1].weight}


def of_sam(model):
    from foveal.encoders.sam_weights import ORIGINAL

    return {f"sam_model.{name}": weight for name, weight in ORIGINAL.write(model.tower.state_dict()).items()}


def test_published_names():
    model, other = encoder(query_sides=(12, 16)), encoder(query_sides=(12, 16))
    with torch.no_grad():
        for weight in other.parameters():
            weight.normal_()
    tensors = published(other) | of_sam(other)
    load_exact(model, causal_flow_weights(tensors, model, source="here"), source="here")
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in model.state_dict().items())
    with pytest.raises(ValueError, match=r"here: .*other"):
        causal_flow_weights(tensors | {"qwen2_model.model.model.other": torch.ones(1)}, model, source="here")
    with pytest.raises(ValueError, match="here: there are queries for grids of 12 rows, the model has none"):
        causal_flow_weights(tensors, encoder(), source="here")
    other_tower = CausalFlowEncoder(VisionTransformer(16, 1, 2, 24, 4, 16, layers=(-1,)), 1, 4, 2, 24)
    with pytest.raises(ValueError, match="the tower is a VisionTransformer"):
        causal_flow_weights(tensors, other_tower, source="here")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CausalFlowEncoder(VisionTransformer(16, 2, 2, 24, 4, 16, layers=(0, 1))), "return one map without"),
        (lambda: CausalFlowEncoder(ParallelEncoder([tower(), tower()])), "look at one view"),
        (lambda: encoder(query_sides=()), "name at least one"),
        (lambda: encoder(query_sides=(2, 2)), "each once"),
        (lambda: CausalFlowEncoder(tower(), 1, 3, 1, 24), "width 16 must be a multiple of twice the heads 3"),
        (lambda: CausalFlowEncoder(tower(), 1, 4, 3, 24), "these of key_heads 3"),
    ],
)
def test_parts_that_do_not_go_together(build, message):
    with pytest.raises(ValueError, match=message):
        build()
