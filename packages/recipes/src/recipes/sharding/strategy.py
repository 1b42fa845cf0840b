"""The Trainer's strategy for a model sharded across devices."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh


class Sharded(ModelParallelStrategy):
    """Shards parameters, gradients and optimizer across ranks (FSDP2; ZeRO stage 3, arXiv 1910.02054, section 5).

    Args:
        shard_size: number of ranks that share one copy of the model. If it is smaller than the number of ranks, each
            group of that many consecutive ranks holds a copy, and gradients are averaged over the copies (HSDP). On
            several machines with a slow network, give the number of devices per machine. null: all ranks share one.
        timeout_minutes: how long a rank waits for the others, for example while the first one reads the weights.

    Raises:
        ValueError: if `shard_size` is below 2, or on several ranks does not divide their number.
    """

    def __init__(self, shard_size: int | None = None, timeout_minutes: int = 30) -> None:
        if shard_size is not None and shard_size < 2:
            raise ValueError(f"shard_size {shard_size}: at least 2 ranks share a copy; for whole copies use ddp")
        super().__init__(tensor_parallel_size=1, timeout=timedelta(minutes=timeout_minutes))
        self.shard_size = shard_size
        self._mesh: DeviceMesh | None = None

    @property
    def mesh(self) -> DeviceMesh:
        """Ranks as [sharing a copy], or [copies, sharing a copy]; known once the processes have connected."""
        if self._mesh is None:
            raise RuntimeError("the ranks are not connected yet: use the mesh in configure_model or later")
        return self._mesh

    def setup_environment(self) -> None:
        """Connect the processes, and lay out their ranks."""
        self._data_parallel_size = ranks = self.num_nodes * self.num_processes
        if self.shard_size is not None and ranks > 1 and ranks % self.shard_size:
            raise ValueError(f"shard_size {self.shard_size} does not divide the {ranks} ranks of this run")
        super().setup_environment()
        if self._mesh is None:
            self._mesh = self._made_mesh(ranks)

    def _made_mesh(self, ranks: int) -> DeviceMesh:
        size = min(self.shard_size or ranks, ranks)
        if size == ranks:
            mesh: DeviceMesh = self.device_mesh["data_parallel"]
            return mesh
        return init_device_mesh(
            self.root_device.type, (ranks // size, size), mesh_dim_names=("copies", "sharing_a_copy")
        )


def is_sharded(strategy: Any) -> bool:
    """Whether a Trainer's `strategy`, as parsed, is `Sharded`."""
    return isinstance(strategy, Mapping) and str(strategy["class_path"]).rpartition(".")[2] == Sharded.__name__
