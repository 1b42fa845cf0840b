"""Compare three ways to sample in deformable attention, at MMFuser's sizes: `python -m tools.bench.deformable`.

The package's own, in which the neighbours of a query are one bag of `F.embedding_bag`, is compared with
`F.grid_sample` for each map, and with fetching the neighbours as rows and summing them.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.connectors import Grid
from foveal.connectors.deformable import centres, deformable_attention, neighbours
from tools.bench.timing import machine, medians

GRID, HEADS, HEAD_WIDTH, POINTS, ROUNDS = Grid(24, 24), 16, 64, 4, 15
TOLERANCE = 1e-5

Way = Callable[[Tensor, Sequence[Grid], Tensor, Tensor], Tensor]
Inputs = tuple[Tensor, Tensor, Tensor]


def sampled(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """Like `deformable_attention`, but every map is sampled as an image."""
    batch, _, heads, head_width = value.shape
    planes = value.permute(0, 2, 3, 1).flatten(0, 1).split([rows * columns for rows, columns in grids], dim=2)
    places = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    found = [
        F.grid_sample(plane.unflatten(2, grid), places[:, :, level], align_corners=False)
        for level, (plane, grid) in enumerate(zip(planes, grids, strict=True))
    ]
    shares = weights.flatten(3).transpose(1, 2).flatten(0, 1)[:, None]
    attended = (torch.cat(found, dim=-1) * shares).sum(dim=-1)
    return attended.view(batch, heads * head_width, -1).mT


def gathered(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """Like `deformable_attention`, but every neighbour is fetched as a row, and the rows are summed."""
    batch, keys, heads, head_width = value.shape
    queries = locations.shape[1]
    found, given = neighbours(grids, locations)
    shares = (given * weights[..., None]).transpose(1, 2).reshape(batch * heads * queries, 1, -1)
    planes = torch.arange(batch * heads, device=value.device).view(batch, heads, 1, 1) * keys
    flat = found.transpose(1, 2).flatten(3) + planes
    fetched = value.transpose(1, 2).reshape(-1, head_width)[flat.flatten()].view(len(shares), -1, head_width)
    return (shares @ fetched).view(batch, heads, queries, head_width).transpose(1, 2).flatten(2)


WAYS: dict[str, Way] = {"bags": deformable_attention, "grid_sample": sampled, "rows": gathered}


def inputs(grids: Sequence[Grid], device: torch.device, dtype: torch.dtype) -> Inputs:
    """Values, locations and weights of one view; queries are on GRID and sample some cells around, also outside."""
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
    """Check that all ways agree.

    Gradients are compared in float64: in float32 a location on the border between two cells may be rounded to either
    side, and there the gradient is discontinuous.

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
    """Two rows of the table: forward alone, and forward with backward."""
    given = inputs(grids, device, torch.float32)
    made = []
    for what, run in (("forward", forward), ("forward and backward", both)):
        seconds = medians({way: partial(run, WAYS[way], grids, given) for way in WAYS}, device, rounds=rounds)
        times = " | ".join(f"{spent * 1e3:.1f} ms" for spent in seconds.values())
        faster = " | ".join(f"{seconds[way] / seconds['bags']:.2f}" for way in WAYS if way != "bags")
        made.append(f"| {name}, {what} | {times} | {faster} |")
    return made


def main() -> None:
    """Check, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default="cpu", help="cpu or cuda")
    parser.add_argument("--tiny", action="store_true", help="timed once, to check that everything runs")
    given = parser.parse_args()
    device, rounds = given.device, 1 if given.tiny else ROUNDS
    torch.manual_seed(0)
    cases = {"cross attention, 4 maps": [GRID] * 4, "self attention, 1 map": [GRID]}
    for grids in cases.values():
        check(grids, device)
    print(machine())
    print(
        f"\n{GRID[0] * GRID[1]} queries, maps of {GRID[0]}x{GRID[1]}, {HEADS} heads of {HEAD_WIDTH}, {POINTS} points, "
        f"float32 on {device}, median of {rounds}, taking turns; all ways agree to {TOLERANCE:.0e}\n"
    )
    print("| | bags | grid_sample | rows | times faster than grid_sample | than rows |")
    print("|---|---|---|---|---|---|")
    for name, grids in cases.items():
        print("\n".join(rows(name, grids, device, rounds)))


if __name__ == "__main__":
    main()
