"""Batched Muon against torch's Muon, and the optimizer that combines it with AdamW."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Muon

from recipes.optimization import muon
from recipes.optimization.muon import step_together
from recipes.optimization.optimizer import MuonAdamW

SHAPES = [(8, 8), (12, 8), (8, 12), (8, 8), (12, 8), (24, 8), (8, 24), (5, 7), (1, 6), (6, 1)]


def weights(number=2):
    """`number` times the same weights."""
    made = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    return [copy.deepcopy(made) for _ in range(number)]


def groups(of):
    return [
        {"params": of[:4], "lr": 0.02, "weight_decay": 0.1},
        {"params": of[4:], "lr": 0.005, "weight_decay": 0.0, "momentum": 0.8, "nesterov": False},
    ]


def give_gradients(*copies, leave_out=()):
    for number, same in enumerate(zip(*copies, strict=True)):
        gradient = None if number in leave_out else torch.randn_like(same[0]) * 10.0 ** (number % 5 - 3)
        for weight in same:
            weight.grad = None if gradient is None else gradient.clone()


def close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("largest", [1, 200, 2**24])
def test_the_numbers_of_torchs_muon(monkeypatch, largest):
    monkeypatch.setattr(muon, "LARGEST_BATCH", largest)
    ours, theirs = weights()
    mine, other = (Muon(groups(of), adjust_lr_fn="match_rms_adamw") for of in (ours, theirs))
    for number in range(4):
        give_gradients(ours, theirs, leave_out=(1, 7) if number == 0 else ())
        step_together(mine)
        other.step()
        close(ours, theirs)
    assert mine.state_dict()["param_groups"] == other.state_dict()["param_groups"]
    states = [optimizer.state_dict()["state"] for optimizer in (mine, other)]
    assert [{number: list(state) for number, state in each.items()} for each in states] == [
        {number: ["momentum_buffer"] for number in range(len(SHAPES))}
    ] * 2
    close(*([state["momentum_buffer"] for state in each.values()] for each in states))


def test_a_weight_that_never_had_a_gradient_has_no_state():
    ours, theirs = weights()
    mine, other = (Muon(groups(of), adjust_lr_fn="match_rms_adamw") for of in (ours, theirs))
    give_gradients(ours, theirs, leave_out=(2,))
    step_together(mine)
    other.step()
    assert ours[2] not in mine.state
    assert mine.state_dict()["state"].keys() == other.state_dict()["state"].keys()


def test_other_coefficients_are_other_batches():
    ours, theirs = weights()
    for of in (given := [groups(each) for each in (ours, theirs)]):
        of[1] |= {"ns_steps": 3, "ns_coefficients": (3.0, -3.2, 1.2)}
    mine, other = (Muon(of, adjust_lr_fn="match_rms_adamw") for of in given)
    give_gradients(ours, theirs)
    step_together(mine)
    other.step()
    close(ours, theirs)


def test_half_precision_weights():
    ours, theirs = ([nn.Parameter(weight.bfloat16()) for weight in of] for of in weights())
    mine, other = (Muon(groups(of), adjust_lr_fn="match_rms_adamw") for of in (ours, theirs))
    give_gradients(ours, theirs)
    step_together(mine)
    other.step()
    close(ours, theirs)


class Sharded(torch.Tensor):
    """Stands in for a shard, whose type is not Tensor."""


def test_weights_of_another_kind_are_left_to_torch(monkeypatch):
    stepped = []
    weight = nn.Parameter(torch.randn(4, 4).as_subclass(Sharded))
    optimizer = Muon([weight], adjust_lr_fn="match_rms_adamw")
    monkeypatch.setattr(optimizer, "step", lambda: stepped.append(True))
    step_together(optimizer)
    assert stepped == [True]


def both(of):
    """The optimizer of this package on matrices and vectors."""
    matrices, vectors = of
    return MuonAdamW(groups(matrices), [{"params": vectors, "lr": 0.01, "weight_decay": 0.1}], betas=(0.9, 0.95))


def test_both_kinds_of_weights_step_and_their_state_loads():
    (ours, theirs, again), vectors = weights(3), [nn.Parameter(torch.randn(6))]
    same = [vectors, copy.deepcopy(vectors), copy.deepcopy(vectors)]
    mine = both((ours, same[0]))
    torchs = (
        Muon(groups(theirs), adjust_lr_fn="match_rms_adamw"),
        AdamW(same[1], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
    )
    for _ in range(3):
        give_gradients(ours + same[0], theirs + same[1])
        assert mine.step(lambda: 7.0) == 7.0
        for optimizer in torchs:
            optimizer.step()
    close(ours + same[0], theirs + same[1])
    # A state of torch's own two optimizers loads, and training continues as with them.
    resumed = both((again, same[2]))
    with torch.no_grad():
        for weight, value in zip(again + same[2], theirs + same[1], strict=True):
            weight.copy_(value)
    resumed.load_state_dict(copy.deepcopy({"muon": torchs[0].state_dict(), "adamw": torchs[1].state_dict()}))
    assert resumed.param_groups[0] is resumed.muon.param_groups[0]
    give_gradients(again + same[2], theirs + same[1])
    for optimizer in (resumed, *torchs):
        optimizer.step()
    close(again + same[2], theirs + same[1])
