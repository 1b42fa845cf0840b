"""Connectors against reference outputs."""

import pytest
import torch

from foveal.connectors import AdaptivePool, MlpProjector, PerceiverResampler, SpatialResampler
from foveal.connectors.mlp import LLAVA, LLAVA_LINEAR
from foveal.connectors.pool import DECO
from foveal.connectors.resampler import UHD
from foveal.connectors.sincos import resampled, sincos_grid
from foveal.connectors.windows import window_points, windows
from foveal.core import load_exact


def loaded(connector, tensors):
    load_exact(connector, tensors, source="reference")
    return connector.eval()


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("case", "depth"), [("linear", 1), ("mlp2x_gelu", 2), ("mlp3x_gelu", 3)])
def test_mlp(golden, case, depth):
    reference = golden("connectors/mlp")
    tensors = reference.tensors
    weights = (LLAVA_LINEAR if depth == 1 else LLAVA).read(golden.strip(tensors, f"{case}.w."))
    projector = loaded(MlpProjector(16, 24, depth=depth), weights)
    close(projector([tensors[f"{case}.input"]], [(1, 7)]), tensors[f"{case}.output"])


@torch.no_grad()
@pytest.mark.parametrize("case", ["square", "not_dividing", "rect", "tall", "enlarging", "one_token"])
def test_deco(golden, case):
    reference = golden("connectors/deco_pool")
    tensors, sizes = reference.tensors, reference.meta["cases"][case]
    rows, columns = sizes["out"]
    pool = AdaptivePool(sizes["enc"], sizes["llm"], rows=rows, columns=columns, depth=sizes["mlp_depth"])
    loaded(pool, DECO.read(golden.strip(tensors, f"{case}.w.")))
    close(pool([tensors[f"{case}.input"]], [tuple(sizes["grid"])]), tensors[f"{case}.output"])


def test_sincos_tables(golden):
    for name, expected in golden("uhd/sincos").tensors.items():
        kind, width, *rest = name.split(".")
        if kind == "square":
            close(sincos_grid(int(rest[0]), int(rest[0]), int(width)), expected)
        elif kind == "rect":
            rows, columns = map(int, rest[0].split("x"))
            close(sincos_grid(rows, columns, int(width)), expected)
        else:
            side, (rows, columns) = int(rest[0]), map(int, rest[1].split("x"))
            close(resampled(sincos_grid(side, side, int(width)), (side, side), (rows, columns)), expected)


def resampler(golden, kind, file, weights="w.", **changes):
    reference = golden(file)
    meta = reference.meta | changes
    tensors = golden.strip(reference.tensors, weights)
    connector = kind(meta["kv_dim"], meta["embed_dim"], queries=meta["grid_size"] ** 2, heads=meta["num_heads"])
    return loaded(connector, UHD.read(tensors)), reference


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "file"), [(PerceiverResampler, "uhd/resampler"), (SpatialResampler, "uhd/spatial_resampler")]
)
def test_resamplers_on_every_grid(golden, kind, file):
    connector, reference = resampler(golden, kind, file)
    for case in reference.meta["cases"]:
        grid = (case["h"], case["w"])
        close(connector([reference.tensors[f"{case['name']}.x"]], [grid]), reference.tensors[f"{case['name']}.out"])


@torch.no_grad()
def test_resampler_with_mask_loaded_positions_and_no_projection(golden):
    connector, reference = resampler(golden, PerceiverResampler, "uhd/resampler")
    tensors = reference.tensors
    mask = ~tensors["masked.key_is_padding"].bool()
    close(connector([tensors["masked.x"]], [(5, 6)], mask), tensors["masked.out"])
    connector.positions.data = tensors["w2.pos_embed"]
    close(connector([tensors["loaded_pos.x"]], [(3, 6)]), tensors["loaded_pos.out"])
    same = reference.meta["identity_kv"]
    connector, _ = resampler(
        golden, PerceiverResampler, "uhd/resampler", "w3.", kv_dim=same["kv_dim"], grid_size=same["grid_size"]
    )
    close(connector([tensors["identity_kv.x"]], [(same["h"], same["w"])]), tensors["identity_kv.out"])


@torch.no_grad()
def test_windows_of_a_small_grid(golden):
    size = golden("uhd/spatial_resampler").meta["small_grid"]
    connector, reference = resampler(
        golden, SpatialResampler, "uhd/spatial_resampler", "w5.", grid_size=size["grid_size"]
    )
    x, out = reference.tensors["small_grid.x"], reference.tensors["small_grid.out"]
    close(connector([x], [(size["h"], size["w"])]), out)


@torch.no_grad()
def test_values_in_windows(golden):
    connector, reference = resampler(golden, SpatialResampler, "uhd/spatial_resampler")
    value = connector.key_norm(connector.in_projection(reference.tensors["c4.x"]))
    close(windows(value, (3, 7), connector.side), reference.tensors["c4.value_windows"])


def test_points_of_windows(golden):
    reference = golden("uhd/spatial_resampler")
    for rows, columns, point_rows, point_columns in reference.meta["pooling"]:
        assert window_points((rows, columns)) == (point_rows, point_columns)


@torch.no_grad()
def test_llava_features(golden):
    weights = golden.strip(golden("llava/tiny_llava_weights").tensors, "model.mm_projector.")
    projector = loaded(MlpProjector(32, 40), LLAVA.read(weights))
    tensors = golden("llava/tiny_llava_io").tensors
    close(projector([tensors["pair.selected_features"]], [(4, 4)]), tensors["pair.image_features"])
    tensors = golden("llava/tiny_llava_cls_patch_io").tensors
    projector.prefix_tokens = 1
    close(projector([tensors["cls_patch.selected_features"]], [(4, 4)]), tensors["cls_patch.image_features"])
