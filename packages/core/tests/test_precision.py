"""A half-precision model that computes in float32 temporarily."""

import pytest
import torch
from torch import nn

from foveal.core import in_float32


def model():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(4, 8), nn.ModuleList([nn.Linear(8, 8) for _ in range(3)]), nn.Linear(8, 2))
    made.register_buffer("counter", torch.tensor(3))
    return made.bfloat16()


def run(made, x):
    first, layers, last = made
    for layer in layers:
        x = layer(first(x) if layer is layers[0] else x)
    return last(x)


@torch.no_grad()
def test_as_a_copy_in_float32_and_back_bit_for_bit():
    made, whole = model(), model().float()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    seen = []
    made[1][1].register_forward_hook(lambda *_: seen.append([layer.weight.dtype for layer in made[1]]))
    x = torch.randn(5, 4)
    with in_float32(made, made[1]):
        assert torch.equal(run(made, x), run(whole, x))
        assert torch.equal(run(made, x), run(whole, x))
    assert seen == [[torch.bfloat16, torch.float32, torch.bfloat16]] * 2
    after = made.state_dict()
    assert all(
        after[name].dtype == tensor.dtype and torch.equal(after[name], tensor) for name, tensor in before.items()
    )
    assert run(made, x.bfloat16()).dtype == torch.bfloat16


def test_an_error_within_leaves_it_as_it_was():
    made = model()
    with pytest.raises(RuntimeError), in_float32(made, made[1]):
        made[1][0](torch.randn(5, 3))
    assert {tensor.dtype for tensor in made.parameters()} == {torch.bfloat16}
