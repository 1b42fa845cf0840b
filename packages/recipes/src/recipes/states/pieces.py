"""The rows of a tensor that this rank holds, whole or sharded by FSDP2."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a tensor.

    Attributes:
        rows: [rows, ...], or the whole tensor if it has no dimensions.
        first: index of the first row in the whole tensor.
        shape: shape of the whole tensor.
        copy: index of this copy among equal copies on different ranks, from 0.
    """

    rows: Tensor
    first: int
    shape: tuple[int, ...]
    copy: int


def piece_of(tensor: Tensor, rank: int) -> Piece:
    """The rows of `tensor` that this rank holds; `rows` shares its memory.

    Args:
        tensor: a plain tensor, of which every rank has a copy, or one of FSDP2.
        rank: this rank.

    Raises:
        ValueError: if the tensor is sharded in a dimension other than the first.
    """
    plain = tensor.detach()
    if not isinstance(plain, DTensor):
        return Piece(plain, 0, tuple(plain.shape), rank)
    mesh, placements = plain.device_mesh, plain.placements
    if any(not isinstance(each, Replicate) and each != Shard(0) for each in placements):
        raise ValueError(f"a tensor has placements {placements}: training states need shards of the first dimension")
    _, offset = compute_local_shape_and_global_offset(plain.shape, mesh, placements)
    coordinate = mesh.get_coordinate() or [0] * mesh.ndim
    copy = sum(at for at, each in zip(coordinate, placements, strict=True) if isinstance(each, Replicate))
    return Piece(plain.to_local(), offset[0] if offset else 0, tuple(plain.shape), copy)
