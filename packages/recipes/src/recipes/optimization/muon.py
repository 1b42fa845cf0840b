"""The step of torch's Muon, with matrices of the same shape batched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Muon

LARGEST_BATCH = 2**24
"""Most elements in a batch. Large matrices gain nothing from batching, and one batch of all matrices of a large model
would take several times the memory of its weights."""


@dataclass(frozen=True)
class Update:
    """The update of one weight with a gradient.

    Attributes:
        group: its parameter group.
        weight: [rows, columns].
        buffer: its momentum, of the same shape.
    """

    group: dict[str, Any]
    weight: Tensor
    buffer: Tensor

    def wide(self) -> Tensor:
        """The update before orthogonalisation, bfloat16, transposed if it has more rows than columns.

        Advances the momentum.
        """
        gradient, momentum = self.weight.grad, self.group["momentum"]
        assert gradient is not None
        self.buffer.lerp_(gradient, 1 - momentum)
        moved = gradient.lerp(self.buffer, momentum) if self.group["nesterov"] else self.buffer
        return (moved if moved.shape[0] <= moved.shape[1] else moved.T).bfloat16()


@torch.no_grad()
def step_together(muon: Muon) -> None:
    """Do the same as `muon.step()`, with the same state and the same numbers.

    A small model's step consists of many small products, each of which costs more to launch than to compute. So
    matrices of the same shape run the Newton-Schulz iteration as a batch. Sharded weights are left to `muon.step()`.

    Args:
        muon: with `adjust_lr_fn="match_rms_adamw"`.
    """
    if any(type(weight) not in (Tensor, nn.Parameter) for group in muon.param_groups for weight in group["params"]):
        muon.step()
        return
    for together in _batches([update for group in muon.param_groups for update in _updates(muon, group)]):
        first = together[0].group
        stacked = torch.stack([update.wide() for update in together])
        made = orthogonal(stacked, first["ns_coefficients"], steps=first["ns_steps"], eps=first["eps"])
        for update, change in zip(together, made, strict=True):
            rate, rows, columns = float(update.group["lr"]), *update.weight.shape
            update.weight.mul_(1 - rate * update.group["weight_decay"])
            change = change if rows <= columns else change.T
            # The size of AdamW's updates (arXiv 2502.16982, section 2.2).
            update.weight.add_(change, alpha=-0.2 * max(rows, columns) ** 0.5 * rate)


def orthogonal(
    matrices: Tensor, coefficients: tuple[float, float, float], *, steps: int = 5, eps: float = 1e-7
) -> Tensor:
    """Move the singular values of matrices close to 1 (Newton-Schulz iteration of Jordan et al., *Muon*, 2024).

    Args:
        matrices: [number, rows, columns], no more rows than columns, bfloat16; overwritten.
        coefficients: of the quintic polynomial applied to singular values.
        steps: number of iterations.
        eps: smallest norm by which a matrix is divided.

    Returns:
        The same shape.
    """
    a, b, c = coefficients
    result = matrices.div_(matrices.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None])
    for _ in range(steps):
        gram = torch.bmm(result, result.mT)
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result


def _updates(muon: Muon, group: dict[str, Any]) -> Iterator[Update]:
    """Updates of the group's weights with a gradient; as in torch's step, the first gradient creates their state."""
    for weight in group["params"]:
        if weight.grad is None:
            continue
        state = muon.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight.grad, memory_format=torch.preserve_format)
        yield Update(group, weight, state["momentum_buffer"])


def _batches(updates: Sequence[Update]) -> Iterator[Sequence[Update]]:
    """Updates that can be batched: same shape up to transposition, same device, same settings."""
    alike: dict[Any, list[Update]] = {}
    for update in updates:
        settings = (update.group["ns_coefficients"], update.group["ns_steps"], update.group["eps"])
        key = (tuple(sorted(update.weight.shape)), update.weight.device, settings)
        alike.setdefault(key, []).append(update)
    for every in alike.values():
        number = max(1, LARGEST_BATCH // every[0].weight.numel())
        yield from (every[start : start + number] for start in range(0, len(every), number))
