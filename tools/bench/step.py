"""A step of the default training with and without its optimisations: `python -m tools.bench.step`.

The plain implementation is kept here: windows are sampled before keys and values are projected, no matrix is cached,
the last layer's MLP sees all positions, and Muon updates one weight after the other. A check first confirms that both
compute the same. `--tiny`: two steps of four pages.
"""

import argparse
import time
from collections.abc import Sequence
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors import Grid, SpatialResampler
from foveal.connectors.sincos import _bicubic_matrix
from foveal.connectors.windows import window_matrix, window_points
from foveal.core import Size, attention
from foveal.models import Batch, VisionLanguageModel
from foveal.models.prompts.batch import position_ids
from recipes.module import Finetuning
from recipes.optimization.optimizer import MuonAdamW
from tools.bench import default_run
from tools.bench.timing import machine, medians

TOLERANCE = 1e-5
CPU = torch.device("cpu")
WAYS = {
    "resampler": "projected before sampling, matrices kept",
    "columns": "the last MLP only where something is learnt",
    "muon": "Muon in batches",
}
"""The optimisations of a step: their names in `trained`, and in the table."""


def plain_resized(features: Tensor, grid: Grid, down: Tensor, across: Tensor) -> Tensor:
    """down X across^T for every view and channel: [views, new rows, new columns, width]."""
    plane = torch.einsum("iy,vyxc->vixc", down, features.unflatten(1, grid))
    return torch.einsum("jx,vixc->vijc", across, plane)


def plain_windows(connector: SpatialResampler, features: Tensor, grid: Grid) -> Tensor:
    """[views, cells, width] -> [views*queries, points of a window, width], with newly computed matrices."""
    points = window_points(grid)
    down, across = (
        window_matrix(size, connector.side, count).flatten(0, 1) for size, count in zip(grid, points, strict=True)
    )
    sampled = plain_resized(features, grid, down, across).unflatten(2, (connector.side, points[1]))
    sampled = sampled.unflatten(1, (connector.side, points[0])).transpose(2, 3)
    windows: Tensor = sampled.flatten(3, 4).flatten(0, 2).to(features.dtype)
    return windows


def plain_resampler(connector: SpatialResampler, maps: Sequence[Tensor], grids: Sequence[Grid]) -> Tensor:
    """The tokens of `connector`, with windows sampled first."""
    features, grid = connector.single(maps, grids, None)
    native = Grid(connector.side, connector.side)
    value = connector.key_norm(connector.in_projection(features))
    down, across = (_bicubic_matrix(*sides) for sides in zip(native, grid, strict=True))
    key = value + plain_resized(connector.positions[None], native, down, across).flatten(1, 2)
    query = (connector.query_norm(connector.query) + connector.positions)[None]
    sources = query, plain_windows(connector, key, grid), plain_windows(connector, value, grid)
    weights, biases = connector.qkv_weight.chunk(3), connector.qkv_bias.chunk(3)
    query, key, value = (F.linear(*each) for each in zip(sources, weights, biases, strict=True))
    query = query.expand(len(features), -1, -1).reshape(-1, 1, connector.out_width)
    heads = (tensor.unflatten(-1, (connector.heads, -1)) for tensor in (query, key, value))
    attended = attention(*heads, backend=connector.backend).reshape(len(features), -1, connector.out_width)
    tokens: Tensor = connector.post_norm(connector.out(attended)) @ connector.projection
    return tokens


def plain_forward(
    network: VisionLanguageModel,
    input_ids: Tensor,
    views: Sequence[Tensor],
    attention_mask: Tensor,
    columns: Tensor,
    sizes: Sequence[Size],
    _position_ids: None,
) -> Tensor:
    """Logits of `columns`, from a decoder that computes all positions in every layer."""
    logits: Tensor = network.language_model(
        inputs_embeds=network.embed(input_ids, views, sizes).embeddings,
        attention_mask=attention_mask,
        position_ids=position_ids(attention_mask),
        use_cache=False,
        logits_to_keep=columns,
    ).logits
    return logits


def plain_step(optimizer: MuonAdamW) -> None:
    """Update one weight after the other, as torch's Muon does."""
    optimizer.muon.step()
    optimizer.adamw.step()


def trained(*, resampler: bool = False, columns: bool = False, muon: bool = False) -> tuple[Finetuning, MuonAdamW]:
    """The default model and its optimizer, with the requested optimisations; the rest is plain."""
    torch.manual_seed(0)
    built = default_run.module()
    optimizer = default_run.optimizer_of(built)
    connector = built.network.connector
    if not isinstance(connector, SpatialResampler) or not isinstance(optimizer, MuonAdamW):
        raise TypeError("the default run has neither a SpatialResampler nor MuonAdamW any more: nothing to compare")
    if not resampler:
        connector.forward = MethodType(plain_resampler, connector)  # type: ignore[method-assign]
    if not columns:
        built.network.forward = MethodType(plain_forward, built.network)  # type: ignore[method-assign]
    if not muon:
        optimizer.step = MethodType(plain_step, optimizer)  # type: ignore[method-assign]
    return built, optimizer


def check(batch: Batch) -> float:
    """The difference between both ways: loss, gradients, and weights after a Muon step on the same gradients.

    Weights after AdamW's first step on each way's own gradients are not compared: that step is as large for a gradient
    of rounding errors as for any other.

    Raises:
        AssertionError: if the difference exceeds the tolerance.
    """
    (now, optimizer), (plain, theirs) = (trained(**dict.fromkeys(WAYS, ours)) for ours in (True, False))
    pairs = []
    for built in (now, plain):
        loss = built.network.loss(batch)
        (loss.total / loss.tokens).backward()
        pairs.append([loss.total.detach() / loss.tokens, *(weight.grad for weight in learnt(built))])
    for one, other in zip(learnt(now), learnt(plain), strict=True):
        other.grad = one.grad
    optimizer.step()
    theirs.step()
    for each, built in zip(pairs, (now, plain), strict=True):
        each += [weight.detach() for weight in learnt(built)]
    apart = max(float((one - other).abs().max()) for one, other in zip(*pairs, strict=True))
    if not apart <= TOLERANCE:
        raise AssertionError(f"the two ways are {apart:.1e} apart")
    return apart


def learnt(built: Finetuning) -> list[nn.Parameter]:
    """The trained weights."""
    return [weight for weight in built.network.parameters() if weight.requires_grad]


def main() -> None:
    """Check, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few pages, to check that everything runs")
    tiny = parser.parse_args().tiny
    size, number, rounds = (4, 2, 1) if tiny else (default_run.BATCH, 4, 15)
    torch.set_num_threads(1)
    of = default_run.batches(trained()[0], number, size=size)
    apart = check(of[0])
    ways = {
        "plain": trained(),
        **{what: trained(**{name: True}) for name, what in WAYS.items()},
        "all, as it is": trained(**dict.fromkeys(WAYS, True)),
    }
    print(machine())
    print(
        f"\n`uhd.yaml`: a step of {size} pages at full difficulty, float32, one thread's time at work, median of "
        f"{rounds} times {number} batches, taking turns; loss, gradients and updates are within {apart:.0e}\n"
    )
    print("| | ms a step | times faster |\n|---|---|---|")
    seconds = medians(
        {name: default_run.steps(built, optimizer, of) for name, (built, optimizer) in ways.items()},
        CPU,
        rounds=rounds,
        clock=time.process_time,
    )
    for name, spent in seconds.items():
        print(f"| {name} | {spent / number * 1e3:.1f} | {seconds['plain'] / spent:.2f} |")


if __name__ == "__main__":
    main()
