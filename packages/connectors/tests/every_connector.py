"""Every connector in a small size, with the grids it takes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from hypothesis import strategies as st

from foveal.connectors import (
    AdaptivePool,
    Average,
    CAbstractor,
    Chain,
    ConcatChannels,
    ConcatTokens,
    Connector,
    ConvPool,
    DAbstractor,
    DenseConnector,
    FlamingoPerceiver,
    HiwinAttention,
    HoneybeeResampler,
    Idefics2Perceiver,
    Identity,
    LdpV2,
    MlpProjector,
    MMFuser,
    Norm,
    Parallel,
    PatchMerger,
    PerceiverResampler,
    PixelShuffle,
    Pool,
    QFormer,
    SpaceTimePool,
    SpatialResampler,
    SplitMlp,
    StridedPool,
    TokenPacker,
)

THREE = (12, 12, 12)


@dataclass(frozen=True)
class Case:
    """A connector, and the grids it takes.

    Args:
        build: makes the connector.
        sides: the sides of its grids are multiples of this many cells.
        own_grids: whether its maps may differ in their grids.
        smallest: smallest side, in units of `sides`.
    """

    build: Callable[[], Connector]
    sides: int = 1
    own_grids: bool = False
    smallest: int = 1

    def connector(self):
        """The same weights in every call; away from values such as 0, which could hide a fault."""
        torch.manual_seed(0)
        connector = self.build().eval()
        with torch.no_grad():
            for weight in connector.parameters():
                if weight.requires_grad:
                    weight += 0.1 * torch.randn_like(weight)
        return connector

    def grids(self):
        """Grids of the maps of one view."""
        side = st.integers(self.smallest, 5).map(lambda cells: cells * self.sides)
        grid, maps = st.tuples(side, side), len(self.connector().in_widths)
        return st.tuples(*[grid] * maps) if self.own_grids else grid.map(lambda one: (one,) * maps)

    def wrong_grids(self):
        """Grids of one view's maps that the connector refuses."""
        connector = self.connector()
        maps, wrong = len(connector.in_widths), []
        if self.sides > 1:
            wrong += [((4, 3),) * maps, ((3, 4),) * maps]
        if self.smallest > 1:
            wrong += [((self.smallest - 1, 4),) * maps]
        if maps > 1 and not self.own_grids:
            wrong += [((4, 6),) * (maps - 1) + ((2, 2),)]
        if maps > 1 and not self.own_grids and not isinstance(connector, Parallel):  # it needs equal numbers of tokens
            wrong += [((4, 6),) * (maps - 1) + ((6, 4),)]
        return wrong

    def usual(self):
        """Oblong grids, several times as large as blocks and pooled grids."""
        shapes = [(4, 6), (6, 4), (8, 6)] if self.own_grids else [(4, 6)] * 3
        return tuple(shapes[number % 3] for number in range(len(self.connector().in_widths)))


ABSTRACTOR = {"rows": 2, "columns": 3, "base_grid": (4, 4), "hidden_width": 8}
D_ABSTRACTOR = ABSTRACTOR | {"depth": 2, "heads": 2, "points": 2, "mlp_width": 12}
QFORMER = {"queries": 3, "hidden_width": 8, "depth": 3, "heads": 2, "mlp_width": 12}
FLAMINGO = {"num_latents": 3, "depth": 2, "heads": 2, "head_width": 5}
IDEFICS2 = {"num_latents": 3, "depth": 2, "heads": 4, "head_width": 6, "key_heads": 2, "mlp_width": 10}
RESAMPLER = {"base_grid": (4, 4), "hidden_width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
FUSER = partial(MMFuser, heads=2, points=2, init_scale=0.5)

CASES = {
    "identity": Case(lambda: Identity(12, 12, prefix_tokens=1)),
    "linear": Case(lambda: MlpProjector(12, 16, depth=1)),
    "mlp": Case(lambda: MlpProjector((12,), 16, depth=3, prefix_tokens=1, residual_blocks=1)),
    "adaptive_pool": Case(lambda: AdaptivePool(12, 16, rows=2, columns=3)),
    "pool": Case(lambda: Pool(12, rows=3, columns=2)),
    "norm": Case(lambda: Norm(12)),
    "strided_average": Case(lambda: StridedPool(12), smallest=2),
    "strided_max": Case(lambda: StridedPool(12, stride=3, mode="max"), smallest=3),
    "strided_bilinear": Case(lambda: StridedPool(12, mode="bilinear")),
    "ldp_v2": Case(lambda: LdpV2(12, 16, rows=2, columns=3)),
    "video": Case(lambda: SpaceTimePool(THREE, 16, slots=2, rows=2, columns=3), own_grids=True),
    "video_pool_first": Case(
        lambda: SpaceTimePool(THREE, 16, slots=2, rows=2, columns=3, pool_first=True), own_grids=True
    ),
    "pixel_shuffle": Case(lambda: PixelShuffle(12, 16), sides=2),
    "patch_merger": Case(lambda: PatchMerger(12, 16), sides=2),
    "patch_merger_blocks": Case(lambda: PatchMerger(12, 16, norm_blocks=True), sides=2),
    "conv_pool": Case(lambda: ConvPool(12, 16), sides=2),
    "c_abstractor": Case(lambda: CAbstractor(12, 16, **ABSTRACTOR, depth=1)),
    "c_abstractor_ended": Case(
        lambda: CAbstractor(8, 16, **ABSTRACTOR, depth=2, mlp_depth=1, use_prenorm=True, num_end_tokens=2)
    ),
    "c_abstractor_plain": Case(lambda: CAbstractor(12, 16, **ABSTRACTOR, depth=0)),
    "d_abstractor": Case(lambda: DAbstractor(12, 16, **D_ABSTRACTOR)),
    "d_abstractor_target": Case(lambda: DAbstractor(8, 8, **D_ABSTRACTOR, pooled="target", num_end_tokens=1)),
    "d_abstractor_levels": Case(lambda: DAbstractor((12, 8), 16, **D_ABSTRACTOR, pooled="none")),
    "d_abstractor_without_positions": Case(lambda: DAbstractor(12, 16, **D_ABSTRACTOR, use_positions=False)),
    "honeybee_resampler": Case(lambda: HoneybeeResampler(12, 16, queries=3, **RESAMPLER, num_end_tokens=1)),
    "q_former": Case(lambda: QFormer(12, 16, **QFORMER)),
    "q_former_class_token": Case(lambda: QFormer(12, 16, **QFORMER, prefix_tokens=1)),
    "flamingo": Case(lambda: FlamingoPerceiver(12, 16, **FLAMINGO)),
    "flamingo_narrow": Case(lambda: FlamingoPerceiver(12, 16, **FLAMINGO, mlp_ratio=2)),
    "flamingo_frames": Case(lambda: FlamingoPerceiver(THREE, 16, **FLAMINGO, num_frames=3), own_grids=True),
    "idefics2": Case(lambda: Idefics2Perceiver(12, 16, **IDEFICS2)),
    "perceiver": Case(lambda: PerceiverResampler(12, 16, queries=9, heads=2)),
    "perceiver_positions": Case(lambda: PerceiverResampler(16, 16, queries=4, heads=1, train_positions=True)),
    "spatial_resampler": Case(lambda: SpatialResampler(12, 16, queries=4, heads=2)),
    "hiwin": Case(lambda: HiwinAttention((12, 8), 16, queries=4, heads=2), own_grids=True),
    "hiwin_one_map": Case(lambda: HiwinAttention(12, 16, queries=4, heads=2, train_positions=True)),
    "token_packer": Case(lambda: TokenPacker((12, 8, 10), 16, hidden_width=8, heads=2), sides=2),
    "average": Case(lambda: Average(THREE, shares=(0.5, 0.3, 0.2))),
    "average_learned": Case(lambda: Average(THREE, learn_shares=True)),
    "channels": Case(lambda: ConcatChannels((12, 8))),
    "tokens": Case(lambda: ConcatTokens(THREE), own_grids=True),
    "dense_sti": Case(lambda: DenseConnector(THREE, kind="sti")),
    "dense_sci": Case(lambda: DenseConnector(THREE, kind="sci")),
    "dense_dci": Case(lambda: DenseConnector((12,) * 5, final_in_mean=False)),
    "mmfuser": Case(lambda: FUSER(THREE), own_grids=True),
    "mmfuser_one_attention": Case(lambda: FUSER((12, 12), use_self_attention=False), own_grids=True),
    "mmfuser_global": Case(lambda: FUSER(THREE, attention="global"), own_grids=True),
    "mmfuser_reduced": Case(lambda: FUSER(THREE, attention="linear_sra"), own_grids=True),
    "split_mlp": Case(lambda: SplitMlp((12, 8), 16)),
    "parallel_channels": Case(lambda: Parallel((12, 8), 16, branches=[MlpProjector, MlpProjector])),
    "parallel_tokens": Case(
        lambda: Parallel((12, 8), 16, branches=[partial(LdpV2, rows=2, columns=2), MlpProjector], join="tokens"),
        own_grids=True,
    ),
    "parallel_interleave": Case(
        lambda: Parallel((12, 12), 16, branches=[MlpProjector, MlpProjector], join="interleave")
    ),
    "parallel_levels": Case(
        lambda: Parallel((12, 8), 16, branches=[PixelShuffle, PixelShuffle], join="levels"), sides=2
    ),
    "chain_fuser": Case(lambda: Chain(THREE, 16, stages=[FUSER], last=MlpProjector), own_grids=True),
    "chain_of_three": Case(
        lambda: Chain(THREE, 16, stages=[ConcatChannels, partial(StridedPool, mode="bilinear")], last=MlpProjector)
    ),
    "chain_without_order": Case(
        lambda: Chain(THREE, 16, stages=[ConcatTokens], last=partial(QFormer, **QFORMER)), own_grids=True
    ),
}


def maps_of(connector, grids, *, number=2):
    return [
        torch.randn(number, connector.prefix_tokens + rows * columns, width)
        for (rows, columns), width in zip(grids, connector.in_widths, strict=True)
    ]
