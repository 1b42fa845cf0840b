"""Query, convolutional, pooling and fusing connectors against reference outputs."""

import pytest
import torch

from foveal.connectors import (
    CAbstractor,
    Chain,
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
    QFormer,
    SpaceTimePool,
    SplitMlp,
    StridedPool,
    TokenPacker,
)
from foveal.connectors.c_abstractor import C_ABSTRACTOR
from foveal.connectors.d_abstractor import D_ABSTRACTOR
from foveal.connectors.deformable import DeformableAttention, centres, deformable_attention
from foveal.connectors.flamingo import flamingo_weights
from foveal.connectors.honeybee_resampler import RESAMPLER
from foveal.connectors.idefics2 import IDEFICS2
from foveal.connectors.mlp import LLAVA, TRANSFORMERS
from foveal.connectors.mmfuser import MMFUSER
from foveal.connectors.pool import LDP
from foveal.connectors.qformer import TRANSFORMERS as QFORMER
from foveal.connectors.resampler import QWEN_VL
from foveal.connectors.shuffle import POOLER, shuffled
from foveal.connectors.shuffle import TRANSFORMERS as INTERNVL
from foveal.connectors.sincos import resampled, sincos_grid
from foveal.connectors.token_packer import TOKEN_PACKER
from foveal.core import load_exact


def loaded(connector, tensors):
    load_exact(connector, tensors, source="reference")
    return connector.eval()


def close(ours, reference, atol=1e-5):
    torch.testing.assert_close(ours, reference, atol=atol, rtol=0)


@torch.no_grad()
def test_residual_mlp_and_pooler(golden):
    tensors = golden("connectors/mlp").tensors
    projector = MlpProjector(16, 24, depth=2, residual_blocks=2)
    loaded(projector, LLAVA.read(golden.strip(tensors, "mlp2x_res2x_gelu.w.")))
    close(projector([tensors["mlp2x_res2x_gelu.input"]], [(1, 7)]), tensors["mlp2x_res2x_gelu.output"])
    pooler = loaded(ConvPool(16, 24), POOLER.read(golden.strip(tensors, "pooler.w.")))
    close(pooler([tensors["pooler.input"]], [(6, 6)]), tensors["pooler.output"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["square", "rect", "r4"])
def test_pixel_shuffle(golden, case):
    reference = golden("connectors/pixel_shuffle")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    grid = tuple(meta["grid"])
    connector = PixelShuffle(meta["enc"], reference.meta["llm_width"], ratio=meta["r"])
    loaded(connector, INTERNVL.read(golden.strip(tensors, f"{case}.w.")))
    features = tensors[f"{case}.input"]
    close(shuffled(features, connector.blocks(grid), meta["r"]), tensors[f"{case}.shuffled"])
    close(connector([features], [grid]), tensors[f"{case}.output"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["square", "odd_eos_prenorm", "depth0", "rect"])
def test_c_abstractor(golden, case):
    reference = golden("connectors/c_abstractor")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    weights = C_ABSTRACTOR.read(golden.strip(tensors, f"{case}.w."))
    grid = tuple(meta["grid"])
    connector = CAbstractor(
        meta["enc"],
        meta["llm"],
        rows=meta["out"][0],
        columns=meta["out"][1],
        base_grid=grid,
        hidden_width=meta["hidden"],
        depth=meta["depth"],
        mlp_depth=meta["mlp_depth"],
        use_prenorm=meta["prenorm"],
        num_end_tokens=meta["eos"],
    )
    loaded(connector, weights)
    features = tensors[f"{case}.input"]
    before = features.clone()
    close(connector([features], [grid]), tensors[f"{case}.output"])
    assert torch.equal(features, before)


@torch.no_grad()
@pytest.mark.parametrize("case", ["pooled_query", "pooled_target", "two_levels", "rect"])
def test_d_abstractor(golden, case):
    reference = golden("connectors/d_abstractor")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    grid, levels = tuple(meta["grid"]), meta["levels"]
    connector = DAbstractor(
        meta["enc"] if levels == 1 else (meta["enc"],) * levels,
        meta["llm"],
        rows=meta["out"][0],
        columns=meta["out"][1],
        base_grid=grid,
        hidden_width=meta["d_model"],
        depth=meta["layers"],
        heads=meta["heads"],
        points=meta["points"],
        mlp_width=meta["ffn"],
        pooled={"tgt": "target"}.get(meta["pooled"], meta["pooled"]),
        num_end_tokens=meta["eos"],
    )
    loaded(connector, D_ABSTRACTOR.read(golden.strip(tensors, f"{case}.w.")))
    features = tensors[f"{case}.input"]
    maps = [features] if levels == 1 else list(features.unbind(1))
    close(connector(maps, [grid] * levels), tensors[f"{case}.output"])


@torch.no_grad()
def test_honeybee_resampler(golden):
    reference = golden("connectors/honeybee_resampler")
    meta, tensors = reference.meta, reference.tensors
    grid = tuple(meta["grid"])
    connector = HoneybeeResampler(
        meta["enc"],
        meta["llm"],
        queries=meta["queries"],
        base_grid=grid,
        hidden_width=meta["hidden"],
        depth=meta["layers"],
        heads=meta["heads"],
        mlp_width=meta["inter"],
        num_end_tokens=meta["eos"],
    )
    loaded(connector, RESAMPLER.read(golden.strip(tensors, "w.")))
    close(connector([tensors["input"]], [grid]), tensors["output"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["two_layers", "every_layer", "masked", "instruct_no_text"])
def test_qformer(golden, case):
    """The reference's case `instruct_text` also reads a question, which no connector here receives."""
    reference = golden("connectors/qformer")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    connector = QFormer(
        meta["enc"],
        meta["llm"],
        queries=meta["queries"],
        hidden_width=meta["hidden"],
        depth=meta["layers"],
        heads=meta["heads"],
        mlp_width=meta["inter"],
        cross_every=meta["freq"],
    )
    loaded(connector, QFORMER.read(golden.strip(tensors, f"{case}.w.")))
    features, mask = tensors[f"{case}.input"], tensors.get(f"{case}.mask")
    mask = None if mask is None else mask.bool()
    close(connector.read(features, mask), tensors[f"{case}.qformer_output"])
    close(connector([features], [(1, meta["N"])], mask), tensors[f"{case}.output"])


@torch.no_grad()
def test_flamingo(golden):
    reference = golden("connectors/flamingo_perceiver")
    meta, tensors = reference.meta, reference.tensors
    frames = meta["max_frames"]
    connector = FlamingoPerceiver(
        (meta["dim"],) * meta["frames"],
        16,
        num_latents=meta["latents"],
        depth=meta["depth"],
        heads=meta["heads"],
        head_width=meta["dim_head"],
        num_frames=frames,
    )
    weights = flamingo_weights(golden.strip(tensors, "w."), source="reference")
    projection = {name: value for name, value in connector.state_dict().items() if name.startswith("projection.")}
    loaded(connector, weights | projection)
    media = tensors["input"].flatten(0, 1)  # [batch*media, frames, tokens, width]
    close(connector.read(list(media.unbind(1))), tensors["output"].flatten(0, 1))


@torch.no_grad()
def test_idefics2(golden):
    reference = golden("connectors/idefics2_perceiver")
    meta, tensors = reference.meta, reference.tensors
    connector = Idefics2Perceiver(
        meta["enc"],
        meta["llm"],
        num_latents=meta["latents"],
        depth=meta["depth"],
        heads=meta["heads"],
        head_width=meta["head_dim"],
        key_heads=meta["kv_heads"],
        mlp_width=meta["inter"],
    )
    loaded(connector, IDEFICS2.read(golden.strip(tensors, "w.")))
    features, grid = tensors["input"], (1, meta["N"])
    close(connector.modality(features), tensors["projected"])
    close(connector([features], [grid]), tensors["output"])
    close(connector([features], [grid], tensors["mask"].bool()), tensors["output_masked"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["same", "enlarged", "reduced_no_kv_proj"])
def test_qwen_vl(golden, case):
    reference = golden("connectors/qwen_vl_resampler")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    side = meta["query_side"]
    connector = PerceiverResampler(meta["enc"], meta["embed"], queries=side**2, heads=meta["heads"])
    loaded(connector, QWEN_VL.read(golden.strip(tensors, f"{case}.w.")))
    grid = (meta["side"], meta["side"])
    close(connector([tensors[f"{case}.input"]], [grid]), tensors[f"{case}.output"])
    positions = connector.positions if grid == (side, side) else resampled(connector.positions, (side, side), grid)
    close(positions.detach(), tensors[f"{case}.key_pos"])
    for name, table in tensors.items():
        if name.startswith("sincos."):
            _, width, places = name.split(".")
            places = int(places.removeprefix("side"))
            close(sincos_grid(places, places, int(width.removeprefix("dim"))), table)


@torch.no_grad()
@pytest.mark.parametrize("case", ["as_published", "odd"])
def test_ldp_v2(golden, case):
    reference = golden("connectors/ldp_v2")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    connector = LdpV2(meta["enc"], meta["llm"], rows=meta["out"][0], columns=meta["out"][1])
    loaded(connector, LDP.read(golden.strip(tensors, f"{case}.w.")))
    close(connector([tensors[f"{case}.input"]], [(meta["side"],) * 2]), tensors[f"{case}.output"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["scale2", "scale3"])
def test_token_packer(golden, case):
    reference = golden("connectors/token_packer")
    meta, tensors = reference.meta["cases"][case], reference.tensors
    levels = meta["levels"]
    connector = TokenPacker(
        (meta["enc"],) * (levels + 1), meta["llm"], scale=meta["scale"], hidden_width=meta["embed"], heads=meta["heads"]
    )
    loaded(connector, TOKEN_PACKER.read(golden.strip(tensors, f"{case}.w.")))
    maps = [*tensors[f"{case}.input_multi"].chunk(levels, dim=-1), tensors[f"{case}.input"]]
    close(connector(maps, [(meta["side"],) * 2] * (levels + 1)), tensors[f"{case}.output"])


@torch.no_grad()
def test_video(golden):
    reference = golden("connectors/video_pool")
    meta, tensors = reference.meta, reference.tensors
    frames, grid = meta["num_frames"], tuple(meta["frame_shape"])
    slots, rows, columns = meta["pooling_shape"]
    connector = SpaceTimePool((meta["enc"],) * frames, meta["llm"], slots=slots, rows=rows, columns=columns)
    loaded(connector, TRANSFORMERS.read(golden.strip(tensors, "w.")))
    video = tensors["video.input"].unflatten(0, (meta["videos"], frames))
    close(connector(list(video.unbind(1)), [grid] * frames), tensors["video.output"])
    close(connector([tensors["image.input"]] * frames, [grid] * frames), tensors["image.output"])
    short = tensors["short_video.input"].repeat_interleave(frames // meta["short"] + 1, dim=0)[:frames, None]
    close(connector(list(short), [grid] * frames), tensors["short_video.output"])
    side = (meta["pool2d_side"],) * 2
    for mode in ("average", "max", "bilinear"):
        close(StridedPool(meta["enc"], mode=mode)([tensors["pool2d.input"]], [side]), tensors[f"pool2d.{mode}"])


@pytest.mark.parametrize("case", [0, 1])
def test_deformable_attention_and_its_gradients(golden, case):
    reference = golden("mmfuser/msda_core")
    grids = [tuple(grid) for grid in reference.meta["cases"][case]["spatial_shapes_hw"]]
    tensors = golden.strip(reference.tensors, f"case{case}.")
    names = ("value", "sampling_locations", "attention_weights")
    value, locations, weights = (tensors[name].requires_grad_() for name in names)
    output = deformable_attention(value, grids, locations, weights)
    close(output, tensors["output"])
    output.backward(tensors["grad_output"])
    for name, given in zip(names, (value, locations, weights), strict=True):
        close(given.grad, tensors[f"grad_{name}"])


@torch.no_grad()
def test_deformable_module(golden):
    reference = golden("mmfuser/msda_module")
    meta, tensors = reference.meta, reference.tensors
    module = DeformableAttention(meta["d_model"], meta["n_heads"], meta["n_levels"], meta["n_points"])
    module.load_state_dict(golden.strip(tensors, "w."))
    grids = [tuple(grid) for grid in meta["spatial_shapes_hw"]]
    query, values = tensors["query"], tensors["input_flatten"]
    points, boxes = tensors["reference_points_2d"], tensors["reference_points_4d"]
    close(module(query, points, values, grids), tensors["output_2d"])
    close(module(query, boxes, values, grids), tensors["output_4d"])
    mask = ~tensors["padding_mask"].bool()
    close(module(query, points, values, grids, mask), tensors["output_2d_masked"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["gridA", "gridB", "mixed", "nonsquare"])
def test_mmfuser(golden, case):
    reference = golden("mmfuser/block")
    meta, tensors = reference.meta, reference.tensors
    grids = [tuple(grid) for grid in meta["grids"][case]]
    fuser = MMFuser((meta["d_model"],) * len(grids), heads=meta["n_heads"], points=meta["n_points"])
    loaded(fuser, MMFUSER.read(golden.strip(tensors, "w.")))
    maps = [tensors[f"{case}.feat{number}"] for number in range(len(grids))]
    close(fuser(maps, grids), tensors[f"{case}.output"])
    if case == "nonsquare":
        close(centres(grids[-1], torch.device("cpu")), tensors[f"{case}.reference_points"])


@torch.no_grad()
def test_mmfuser_and_its_projector(golden):
    reference = golden("mmfuser/end_to_end")
    meta, tensors = reference.meta, reference.tensors
    width, maps = meta["fuser"]["d_model"], list(tensors["selected_features"])
    connector = Chain(
        (width,) * len(maps),
        meta["projector"]["out"],
        stages=[lambda widths: MMFuser(widths, heads=meta["fuser"]["n_heads"], points=meta["fuser"]["n_points"])],
        last=MlpProjector,
    )
    weights = golden.strip(tensors, "w.mm_projector.")
    fuser = MMFUSER.read({name[2:]: value for name, value in weights.items() if name.startswith("0.")})
    shifted = {f"{int(name[0]) - 1}{name[1:]}": value for name, value in weights.items() if name[0] != "0"}
    loaded(connector.stages[0], fuser)
    loaded(connector.last, LLAVA.read(shifted))
    grids = [(4, 4)] * len(maps)
    close(connector.stages[0](maps, grids), tensors["fuser_output"])
    close(connector(maps, grids), tensors["output"])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sti", "sci", "dci"])
def test_dense_connector(golden, kind):
    tensors = golden("mmfuser/dense_connector").tensors
    for name, final, dense, class_token, grid in (
        ("clip", 23, range(24), 1, (5, 5)),
        ("siglip", 26, range(27), 0, (1, 19)),
    ):
        states = tensors[f"{name}.hidden_states"][:, :, class_token:]
        layers = list(dense) if kind == "dci" else [7, 15, final]
        maps = [states[layer] for layer in layers]
        connector = DenseConnector((states.shape[-1],) * len(maps), kind=kind, final_in_mean=name == "clip")
        close(connector(maps, [grid] * len(maps)), tensors[f"{name}.{kind}"])


@torch.no_grad()
def test_split_mlp(golden):
    reference = golden("encoders/deepseek_vl_hybrid")
    tensors, projector = reference.tensors, reference.meta["projector"]
    connector = SplitMlp((projector["input_dim"],) * 2, projector["n_embed"])
    weights = golden.strip(tensors, "w.aligner.")
    names = {"high_up_proj": "up.0", "low_up_proj": "up.1", "layers.1": "out"}
    ours = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in weights.items()}
    loaded(connector, ours)
    close(connector([tensors["high"], tensors["low"]], [(24, 24)] * 2), tensors["output"])
