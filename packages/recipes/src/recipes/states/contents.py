"""The contents of a training state, how they are collected from model and optimizer, and how they are restored.

weight/NAME            every trained weight
buffer/NAME            every buffer in the model's state dict
optimizer/NAME/KEY     what the optimizer keeps for a weight: moments, step counts
random/RANK/KEY        a rank's random number generators

Frozen weights are not included: they come from where the run originally took them, and a checksum tells whether they
are unchanged. Learning rates and other settings are not included either: they come from the command line.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes.optimization.optimizer import MuonAdamW
from recipes.states.folder import StateError
from recipes.states.pieces import piece_of
from recipes.states.ranks import Ranks
from recipes.states.stored import StoredState


def trained_weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """The trained weights by name; shared weights appear once."""
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


def stateful_buffers(network: nn.Module) -> dict[str, Tensor]:
    """The buffers in the network's state dict."""
    stateful = set(network.state_dict())
    return {name: buffer for name, buffer in network.named_buffers() if name in stateful}


def all_finite(network: nn.Module, ranks: Ranks) -> bool:
    """Whether all trained weights are finite on all ranks."""
    rows = (piece_of(weight, ranks.rank).rows for weight in trained_weights(network).values())
    (broken,) = ranks.sums(sum(not bool(each.isfinite().all()) for each in rows))
    return not broken


def pieces(
    network: nn.Module, optimizer: Optimizer, random: Mapping[str, Tensor], rank: int
) -> Iterator[tuple[str, Tensor, int]]:
    """What this rank has to write: name, rows, index of the first row.

    If several ranks hold the same rows, the first of them writes them.
    """
    names = {id(weight): name for name, weight in trained_weights(network).items()}
    held: dict[str, Tensor] = {f"weight/{name}": weight for name, weight in trained_weights(network).items()}
    held |= {f"buffer/{name}": buffer for name, buffer in stateful_buffers(network).items()}
    for each in single_optimizers(optimizer).values():
        for weight, kept in each.state.items():
            for key, value in kept.items():
                held[f"optimizer/{names[id(weight)]}/{key}"] = value
    for name, tensor in held.items():
        piece = piece_of(tensor, rank)
        if piece.copy == 0:
            yield name, piece.rows, piece.first
    for key, value in random.items():
        yield f"random/{rank}/{key}", value, 0


def restore(network: nn.Module, optimizer: Optimizer, state: StoredState) -> None:
    """Restore a network and its optimizer from what `pieces` wrote, on any ranks and devices.

    Raises:
        StateError: if other weights are trained now, or by another optimizer.
    """
    fill_network(network, state)
    kept: dict[str, list[str]] = {}
    for name in state.names("optimizer/"):
        weight_name, _, key = name.rpartition("/")
        kept.setdefault(weight_name, []).append(key)
    names = {id(weight): name for name, weight in trained_weights(network).items()}
    described = {label: _filled(each, names, kept, state) for label, each in single_optimizers(optimizer).items()}
    try:
        optimizer.load_state_dict(described if isinstance(optimizer, MuonAdamW) else described["adamw"])
    except (LookupError, ValueError, TypeError) as error:
        raise StateError(f"{state.folder} lacks what the optimizer keeps for a weight ({error!r:.100})") from error


def fill_network(network: nn.Module, state: StoredState) -> None:
    """Load the trained weights and the buffers of a state into a network.

    Raises:
        StateError: if other weights are trained now.
    """
    weights = trained_weights(network)
    check_trained(set(weights), state)
    with torch.no_grad():
        for name, weight in weights.items():
            state.fill(weight, f"weight/{name}")
        for name, buffer in stateful_buffers(network).items():
            state.fill(buffer, f"buffer/{name}")


def single_optimizers(optimizer: Optimizer) -> dict[str, Optimizer]:
    """The torch optimizers that `optimizer` consists of, by their names in its state."""
    if isinstance(optimizer, MuonAdamW):
        return {"muon": optimizer.muon, "adamw": optimizer.adamw}
    return {"adamw": optimizer}


def frozen_sum(network: nn.Module, ranks: Ranks) -> list[int]:
    """The number of frozen weights, and a sum over the bits of all their values; the same for any sharding."""
    total, number = 0, 0
    for weight in network.parameters():
        if weight.requires_grad:
            continue
        number += 1
        piece = piece_of(weight, ranks.rank)
        if piece.copy == 0 and piece.rows.numel():
            rows = piece.rows.float() if piece.rows.is_floating_point() else piece.rows
            bits = rows.contiguous().view(torch.int32) if rows.is_floating_point() else rows
            total += int(bits.sum(dtype=torch.int64))
    (total,) = ranks.sums((total + 2**63) % 2**64 - 2**63)
    return [number, total]


def check_trained(names: set[str], state: StoredState) -> None:
    """Refuse a state whose trained weights are not those of this run.

    Raises:
        StateError: with the names.
    """
    then = set(state.names("weight/"))
    for verb, those in (
        ("trained in this run, but was not", names - then),
        ("not trained in this run, but was", then - names),
    ):
        if those:
            raise StateError(
                f"{state.folder}: {min(those)} ({len(those)} weights in all) is {verb} when the state was written; "
                "resume with the original settings, or start a new run from its checkpoint with --checkpoint"
            )


def _filled(
    optimizer: Optimizer, names: Mapping[int, str], kept: Mapping[str, list[str]], state: StoredState
) -> dict[str, Any]:
    described = optimizer.state_dict()
    filled: dict[int, dict[str, Tensor]] = {}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, weight in enumerate(weights):
        name = names[id(weight)]
        filled[index] = {}
        for key in kept.get(name, []):
            stored = f"optimizer/{name}/{key}"
            if key == "step":
                filled[index][key] = state.whole(stored)
            else:
                value = torch.zeros_like(weight, requires_grad=False)
                state.fill(value, stored)
                filled[index][key] = value
    return {**described, "state": {index: values for index, values in filled.items() if values}}
