"""Muon for matrices, AdamW for the rest, as one optimizer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer

from recipes.optimization.muon import step_together


class MuonAdamW(Optimizer):
    """Two optimizers that step together (Jordan et al., *Muon*, 2024; Liu et al., arXiv 2502.16982).

    Muon orthogonalises the update of a hidden matrix, which gets small models trained from scratch past plateaus where
    AdamW stays for a long time. Its updates are scaled to the size of AdamW's (arXiv 2502.16982, section 2.2), so that
    both use the same learning rates.

    Args:
        matrices: groups of 2-D weights inside layers, for Muon.
        others: groups of all other weights, for AdamW.
        betas: AdamW's betas.

    Raises:
        ValueError: if a weight in `matrices` does not have two dimensions.
    """

    def __init__(
        self, matrices: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], *, betas: tuple[float, float]
    ) -> None:
        self.muon = Muon(list(matrices), adjust_lr_fn="match_rms_adamw")
        self.adamw = AdamW(list(others), betas=betas)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        self._share_groups()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Step both optimizers, after the closure has computed the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        step_together(self.muon)
        self.adamw.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.muon.load_state_dict(state_dict["muon"])
        self.adamw.load_state_dict(state_dict["adamw"])
        self._share_groups()

    def _share_groups(self) -> None:
        """Share the group objects of both, so that a schedule that changes a rate here also changes it there."""
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]
