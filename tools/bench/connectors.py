"""The cost of connectors that turn 24x24 patches into 144 tokens: `python -m tools.bench.connectors`.

Sizes inside a connector depend on the two widths, and at the real widths they are the published sizes. FLOPs and
parameters are always given for the real widths.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foveal.connectors import (
    AdaptivePool,
    CAbstractor,
    Chain,
    Connector,
    ConvPool,
    DAbstractor,
    DenseConnector,
    FlamingoPerceiver,
    HoneybeeResampler,
    Idefics2Perceiver,
    LdpV2,
    MlpProjector,
    MMFuser,
    PerceiverResampler,
    PixelShuffle,
    Pool,
    QFormer,
    SpatialResampler,
    StridedPool,
    TokenPacker,
)
from foveal.core import Grid
from tools.bench.timing import machine, medians

GRID, TOKENS, ROUNDS = Grid(24, 24), 144, 5
WIDTH, OUT_WIDTH = 1024, 4096
BASELINE = "AdaptivePool, one linear layer"

CONNECTORS: dict[str, Callable[[int, int], Connector]] = {
    BASELINE: partial(AdaptivePool, depth=1),
    "AdaptivePool (DeCo)": AdaptivePool,
    "StridedPool, MLP (LLaVA-NeXT)": partial(Chain, stages=[StridedPool], last=MlpProjector),
    "LdpV2 (MobileVLM V2)": LdpV2,
    "PixelShuffle (InternVL)": PixelShuffle,
    "ConvPool (LLaVA-NeXT)": ConvPool,
    "CAbstractor (Honeybee)": lambda width, out_width: CAbstractor(width, out_width, hidden_width=width),
    "DAbstractor (Honeybee)": lambda width, out_width: DAbstractor(
        width, out_width, hidden_width=width, mlp_width=width
    ),
    "HoneybeeResampler": lambda width, out_width: HoneybeeResampler(
        width, out_width, queries=TOKENS, hidden_width=width, mlp_width=4 * width
    ),
    "QFormer, 2 layers (DeCo's baseline)": lambda width, out_width: QFormer(
        width, out_width, queries=TOKENS, hidden_width=3 * width // 4, depth=2, mlp_width=3 * width
    ),
    "QFormer, 12 layers (BLIP-2)": lambda width, out_width: QFormer(
        width, out_width, queries=TOKENS, hidden_width=3 * width // 4, mlp_width=3 * width
    ),
    "FlamingoPerceiver": lambda width, out_width: FlamingoPerceiver(
        width, out_width, num_latents=TOKENS, head_width=width // 16
    ),
    "Idefics2Perceiver": lambda width, out_width: Idefics2Perceiver(
        width, out_width, num_latents=TOKENS, head_width=3 * out_width // 128, mlp_width=7 * out_width // 2
    ),
    "PerceiverResampler (Qwen-VL)": partial(PerceiverResampler, queries=TOKENS, heads=32),
    "SpatialResampler (LLaVA-UHD)": partial(SpatialResampler, queries=TOKENS, heads=32),
    "TokenPacker, 5 maps": lambda width, out_width: TokenPacker((width,) * 5, out_width, hidden_width=width),
    "MMFuser of 5 maps, Pool, MLP": lambda width, out_width: Chain(
        (width,) * 5, out_width, stages=[MMFuser, Pool], last=MlpProjector
    ),
    "DenseConnector (sci) of 3 maps, Pool, MLP": lambda width, out_width: Chain(
        (width,) * 3, out_width, stages=[partial(DenseConnector, kind="sci"), Pool], last=MlpProjector
    ),
    "MlpProjector (LLaVA-1.5), for comparison": MlpProjector,
}


@dataclass(frozen=True)
class Cost:
    """The cost of one view.

    Attributes:
        tokens: number of output tokens.
        parameters: all parameters, including frozen ones.
        flops: FLOPs of the forward pass: two for each multiply-add of matrix products and convolutions. Elementwise
            operations and the sampling of deformable attention are not counted.
    """

    tokens: int
    parameters: int
    flops: int


def counted(connector: Connector) -> Cost:
    """Count one forward pass; torch's counter does not support the CPU's fused attention, so it is decomposed."""
    counter = FlopCounterMode(display=False)
    maps = features(connector)
    with counter, sdpa_kernel(SDPBackend.MATH):
        tokens = connector(maps, [GRID] * len(maps))
    parameters = sum(weight.numel() for weight in connector.parameters())
    return Cost(tokens.shape[1], parameters, counter.get_total_flops())


def features(connector: Connector) -> list[Tensor]:
    """The features of one view, on the connector's device."""
    device = next(connector.parameters()).device
    return [torch.randn(1, GRID[0] * GRID[1], width, device=device) for width in connector.in_widths]


def step(connector: Connector, maps: Sequence[Tensor]) -> None:
    """Forward, and backward to every trained weight, but not to the features: the encoder counts as frozen."""
    tokens = connector(maps, [GRID] * len(maps))
    weights = [weight for weight in connector.parameters() if weight.requires_grad]
    torch.autograd.grad(tokens, weights, torch.ones_like(tokens))


def rows(costs: Mapping[str, Cost], seconds: Mapping[str, float]) -> list[str]:
    """Rows of the table, fastest first."""
    return [
        f"| {name} | {costs[name].tokens} | {costs[name].parameters / 1e6:.2f} | {costs[name].flops / 1e9:.2f} | "
        f"{seconds[name] * 1e3:.1f} ms | {seconds[name] / seconds[BASELINE]:.2f} |"
        for name in sorted(seconds, key=lambda name: seconds[name])
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of the timed features")
    parser.add_argument("--out-width", type=int, default=OUT_WIDTH, help="channels of the timed language model")
    parser.add_argument("--device", type=torch.device, default="cpu", help="device for the timing: cpu or cuda")
    parser.add_argument(
        "--tiny", action="store_true", help="narrow connectors, timed and counted once, to check that everything runs"
    )
    asked = parser.parse_args()
    rounds = ROUNDS
    if asked.tiny:
        asked.width, asked.out_width, rounds = 64, 256, 1
    torch.manual_seed(0)
    real = (asked.width, asked.out_width) == (WIDTH, OUT_WIDTH)
    with torch.device(asked.device):
        timed = {name: build(asked.width, asked.out_width) for name, build in CONNECTORS.items()}
        costed = timed if real or asked.tiny else {name: build(WIDTH, OUT_WIDTH) for name, build in CONNECTORS.items()}
        costs = {name: counted(connector) for name, connector in costed.items()}
    steps = {name: partial(step, connector, features(connector)) for name, connector in timed.items()}
    seconds = medians(steps, asked.device, rounds=rounds)
    costed_at = f"{asked.width} to {asked.out_width}" if asked.tiny else f"{WIDTH} to {OUT_WIDTH}"
    print(machine())
    print(
        f"\none view of {GRID[0]}x{GRID[1]} patches, float32 on {asked.device}, timed at width {asked.width} to "
        f"{asked.out_width}, median of {rounds}, taking turns; parameters and FLOPs at {costed_at}\n"
    )
    print("| | tokens | million parameters | GFLOP forward | forward and backward | times the pool |")
    print("|---|---|---|---|---|---|")
    print("\n".join(rows(costs, seconds)))


if __name__ == "__main__":
    main()
