"""Three ways to sample in deformable attention, at MMFuser's sizes: `python -m tools.bench.deformable`.

The package's own, by `F.grid_sample` for each map, against the four neighbours of every sample fetched by their index:
as rows that are then summed, and as bags of `F.embedding_bag`, which sums them while it fetches.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.connectors import Grid
from foveal.connectors.deformable import centres, deformable_attention
from tools.bench.connectors import medians
from tools.bench.timing import machine

GRID, HEADS, HEAD_WIDTH, POINTS, ROUNDS = (24, 24), 16, 64, 4, 15
TOLERANCE = 1e-5

Way = Callable[[Tensor, Sequence[Grid], Tensor, Tensor], Tensor]
Inputs = tuple[Tensor, Tensor, Tensor]


def neighbours(grids: Sequence[Grid], locations: Tensor) -> tuple[Tensor, Tensor]:
    """Keys around every location, and what each gives to it: twice [..., maps, points, 4].

    A neighbour outside of its map gives nothing.
    """
    sizes = torch.tensor([(columns, rows) for rows, columns in grids], device=locations.device)
    cells = sizes.prod(dim=1)
    first, columns, last = (cells.cumsum(dim=0) - cells)[:, None, None, None], sizes[:, :1, None, None], sizes - 1
    places = (locations * sizes[:, None] - 0.5)[..., None]
    low = places.floor()
    cell = torch.cat([low, low + 1], dim=-1)  # [..., maps, points, 2 of x and y, 2 sides]
    held = cell.clamp(torch.zeros_like(last)[:, None, :, None], last[:, None, :, None])
    given = torch.cat([1 - (places - low), places - low], dim=-1) * (cell == held)
    across, down = held.long()[..., None, :].unbind(dim=-3)
    keys = first + down.mT * columns + across
    return keys.flatten(-2), (given[..., 1, :, None] * given[..., 0, None, :]).flatten(-2)


def gathered(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """As `deformable_attention`; every neighbour is fetched as a row, then the rows are summed."""
    batch, keys, heads, head_width = value.shape
    queries = locations.shape[1]
    found, given = neighbours(grids, locations)
    shares = (given * weights[..., None]).transpose(1, 2).reshape(batch * heads * queries, 1, -1)
    planes = torch.arange(batch * heads, device=value.device).view(batch, heads, 1, 1) * keys
    flat = found.transpose(1, 2).flatten(3) + planes
    fetched = value.transpose(1, 2).reshape(-1, head_width)[flat.flatten()].view(len(shares), -1, head_width)
    return (shares @ fetched).view(batch, heads, queries, head_width).transpose(1, 2).flatten(2)


def bagged(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """As `deformable_attention`; the neighbours of a query are one bag of a weighted `F.embedding_bag`."""
    batch, keys, heads, head_width = value.shape
    found, given = neighbours(grids, locations)
    views = torch.arange(batch, device=value.device)[:, None] * keys * heads
    planes = (views + torch.arange(heads, device=value.device)).view(batch, 1, heads, 1, 1, 1)
    summed = F.embedding_bag(
        (found * heads + planes).flatten(3).flatten(0, 2),
        value.reshape(-1, head_width),
        mode="sum",
        per_sample_weights=(given * weights[..., None]).flatten(3).flatten(0, 2),
    )
    return summed.view(batch, -1, heads * head_width)


WAYS: dict[str, Way] = {"grid_sample": deformable_attention, "rows": gathered, "bags": bagged}


def inputs(grids: Sequence[Grid], device: torch.device, dtype: torch.dtype) -> Inputs:
    """Values, locations and weights of one view whose queries lie on GRID and look some cells around, also outside."""
    queries = GRID[0] * GRID[1]
    shape = (1, queries, HEADS, len(grids), POINTS)
    offsets = torch.randn(*shape, 2, dtype=torch.float64) * 2 / torch.tensor(GRID)
    made = (
        torch.randn(1, sum(rows * columns for rows, columns in grids), HEADS, HEAD_WIDTH, dtype=torch.float64),
        centres(GRID, torch.device("cpu"))[:, :, None, :, None] + offsets,
        torch.randn(shape, dtype=torch.float64).flatten(3).softmax(dim=-1).view(shape),
    )
    value, locations, weights = (each.to(device, dtype).requires_grad_() for each in made)
    return value, locations, weights


def forward(way: Way, grids: Sequence[Grid], given: Inputs) -> Tensor:
    """The result, without a graph."""
    value, locations, weights = given
    with torch.no_grad():
        return way(value, grids, locations, weights)


def both(way: Way, grids: Sequence[Grid], given: Inputs) -> tuple[Tensor, ...]:
    """The result, and gradients of the three inputs."""
    value, locations, weights = given
    result = way(value, grids, locations, weights)
    return result, *torch.autograd.grad(result, given, torch.ones_like(result))


def check(grids: Sequence[Grid], device: torch.device) -> None:
    """That all ways agree.

    Gradients are compared in float64: in float32 a location on the line between two cells may round to either side,
    and there the gradient jumps.

    Raises:
        AssertionError: if a result or gradient differs by more than the tolerance.
    """
    single, double = (inputs(grids, device, dtype) for dtype in (torch.float32, torch.float64))
    for name, way in WAYS.items():
        pairs = [(forward(way, grids, single), forward(deformable_attention, grids, single))]
        pairs += zip(both(way, grids, double), both(deformable_attention, grids, double), strict=True)
        for found, wanted in pairs:
            apart = (found - wanted).detach().abs().max().item()
            if not apart <= TOLERANCE:
                raise AssertionError(f"{name} is {apart:.1e} away from deformable_attention, over {len(grids)} maps")


def rows(name: str, grids: Sequence[Grid], device: torch.device, rounds: int) -> list[str]:
    """Two rows of the table: forward alone, and with backward."""
    given = inputs(grids, device, torch.float32)
    made = []
    for what, run in (("forward", forward), ("forward and backward", both)):
        seconds = medians({way: partial(run, WAYS[way], grids, given) for way in WAYS}, device, rounds=rounds)
        times = " | ".join(f"{spent * 1e3:.1f} ms" for spent in seconds.values())
        faster = " | ".join(f"{seconds['grid_sample'] / seconds[way]:.2f}" for way in WAYS if way != "grid_sample")
        made.append(f"| {name}, {what} | {times} | {faster} |")
    return made


def main() -> None:
    """Check, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    device = parser.parse_args().device
    torch.manual_seed(0)
    cases = {"cross attention, 4 maps": [GRID] * 4, "self attention, 1 map": [GRID]}
    for grids in cases.values():
        check(grids, device)
    print(machine())
    print(
        f"\n{GRID[0] * GRID[1]} queries, maps of {GRID[0]}x{GRID[1]}, {HEADS} heads of {HEAD_WIDTH}, {POINTS} points, "
        f"float32 on {device}, median of {ROUNDS}, taking turns; all ways agree to {TOLERANCE:.0e}\n"
    )
    print("| | grid_sample | rows | bags | rows: times faster | bags: times faster |")
    print("|---|---|---|---|---|---|")
    for name, grids in cases.items():
        print("\n".join(rows(name, grids, device, ROUNDS)))


if __name__ == "__main__":
    main()
