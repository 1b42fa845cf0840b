"""Connectors of the matrix."""

from functools import partial

from foveal.connectors import (
    AdaptivePool,
    Average,
    CAbstractor,
    Chain,
    ConcatChannels,
    ConcatTokens,
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

POOL = {"rows": 2, "columns": 3}
ABSTRACTOR = POOL | {"base_grid": (4, 4), "hidden_width": 16}
D_ABSTRACTOR = ABSTRACTOR | {"depth": 1, "heads": 2, "points": 2, "mlp_width": 24}
Q_FORMER = {"queries": 4, "hidden_width": 16, "depth": 2, "heads": 2, "mlp_width": 24, "dropout": 0.0}
FLAMINGO = {"num_latents": 4, "depth": 1, "heads": 2, "head_width": 8}
FUSER = partial(MMFuser, heads=2, points=2)


def chain(*stages, last=MlpProjector):
    return partial(Chain, stages=stages, last=last)


CONNECTORS = {
    "joined_layers": partial(Chain, stages=[ConcatChannels, Norm], last=MlpProjector),
    "identity": partial(Chain, stages=[ConcatChannels], last=Identity),
    "linear": partial(MlpProjector, depth=1),
    "mlp": MlpProjector,
    "mlp_class_token": partial(MlpProjector, prefix_tokens=1),
    "adaptive_pool": partial(AdaptivePool, **POOL),
    "ldp_v2": partial(LdpV2, **POOL),
    "space_time_pool": partial(SpaceTimePool, slots=2, **POOL),
    "pixel_shuffle": PixelShuffle,
    "patch_merger": PatchMerger,
    "conv_pool": ConvPool,
    "c_abstractor": partial(CAbstractor, **ABSTRACTOR, depth=1),
    "c_abstractor_ended": partial(CAbstractor, **ABSTRACTOR, depth=1, num_end_tokens=1),
    "d_abstractor": partial(DAbstractor, **D_ABSTRACTOR),
    "d_abstractor_maps": partial(DAbstractor, **D_ABSTRACTOR, pooled="none"),
    "honeybee_resampler": partial(
        HoneybeeResampler, queries=4, base_grid=(4, 4), hidden_width=16, depth=1, heads=2, mlp_width=24
    ),
    "q_former": partial(QFormer, **Q_FORMER),
    "q_former_class_token": partial(QFormer, **Q_FORMER, prefix_tokens=1),
    "flamingo": partial(FlamingoPerceiver, **FLAMINGO),
    "flamingo_frames": partial(FlamingoPerceiver, **FLAMINGO, num_frames=4),
    "idefics2": partial(Idefics2Perceiver, num_latents=4, depth=1, heads=2, head_width=8, key_heads=1, mlp_width=24),
    "perceiver": partial(PerceiverResampler, queries=4, heads=2),
    "spatial_resampler": partial(SpatialResampler, queries=4, heads=2),
    "hiwin": partial(HiwinAttention, queries=4, heads=2),
    "token_packer": partial(TokenPacker, hidden_width=16, heads=2),
    "split_mlp": SplitMlp,
    "parallel_channels": partial(Parallel, branches=[MlpProjector] * 2),
    "parallel_pools": partial(Parallel, branches=[partial(AdaptivePool, **POOL)] * 2),
    "parallel_tokens": partial(Parallel, branches=[partial(QFormer, **Q_FORMER), MlpProjector], join="tokens"),
    "parallel_interleave": partial(Parallel, branches=[MlpProjector] * 2, join="interleave"),
    "parallel_levels": partial(Parallel, branches=[PixelShuffle] * 4, join="levels"),
    "mmfuser": chain(FUSER),
    "mmfuser_global": chain(partial(FUSER, attention="global")),
    "mmfuser_reduced": chain(partial(FUSER, attention="linear_sra", use_self_attention=False)),
    "average": chain(Average),
    "average_learned": chain(partial(Average, learn_shares=True)),
    "channels": chain(ConcatChannels),
    "tokens": chain(ConcatTokens),
    "tokens_q_former": chain(ConcatTokens, last=partial(QFormer, **Q_FORMER)),
    "dense_sti": chain(partial(DenseConnector, kind="sti")),
    "dense_sci": chain(partial(DenseConnector, kind="sci")),
    "dense_dci": chain(DenseConnector),
    "dense_resampler": chain(DenseConnector, last=partial(SpatialResampler, queries=4, heads=2)),
    "pool": chain(partial(Pool, **POOL)),
    "strided_pool": chain(StridedPool),
    "strided_max": chain(partial(StridedPool, mode="max")),
    "strided_bilinear": chain(partial(StridedPool, mode="bilinear")),
}
