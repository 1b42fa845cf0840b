"""Metrics that keep rows until the end, of which a rank may have none."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors


class KeptRows(Metric):
    """A metric with lists of rows in its state, concatenated over ranks."""

    def __init__(self) -> None:
        super().__init__()
        self._none: dict[str, Tensor] = {}

    def add_rows(self, name: str, none: Tensor) -> None:
        """Add a list of rows to the state.

        Args:
            name: of the list.
            none: no rows, with the dtype and the further dimensions of a row.
        """
        self.add_state(name, [], dist_reduce_fx="cat")
        self._none[name] = none

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        # torchmetrics sends an empty list as float32 in one dimension, which other ranks cannot gather with their rows.
        for name, none in self._none.items():
            if not getattr(self, name):
                setattr(self, name, [none.to(self.device)])
        super()._sync_dist(dist_sync_fn, process_group)
