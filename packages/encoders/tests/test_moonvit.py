"""MoonViT and ViT-UHD: compression beside its reference, published files, patches of another size."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from foveal.core import Grid
from foveal.encoders import MoonViT, moonvit, refined_patches
from foveal.encoders.compression import MeanCompression, WindowedTokenCompression, windows_of
from foveal.encoders.moonvit_weights import MOONVIT
from foveal.encoders.rotary import interleaved_grid_rotation, rotated_neighbours

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
PATCHES = {"patch_size": 4, "init_pos_emb_height": 4, "init_pos_emb_width": 4}


def close(ours, expected, atol=1e-5):
    torch.testing.assert_close(ours, expected, atol=atol, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("method", ["m_pooling", "avg_pooling"])
def test_reference_of_compression(golden, method):
    reference = golden("uhd/wtc")
    compression = MeanCompression()
    if method == "m_pooling":
        compression = WindowedTokenCompression(reference.meta["embed_dim"])
        weights = golden.strip(reference.tensors, "w.")
        read = MOONVIT.read({f"encoder.blocks.0.merger.{name}": value for name, value in weights.items()})
        compression.load_state_dict({name.removeprefix("compressions.0."): value for name, value in read.items()})
    grids = [Grid(*grid) for grid in reference.meta["grids_hw"]]
    result = compression(windows_of(reference.tensors["x"][None], grids))[0]
    close(result, reference.tensors[method])
    ends = torch.tensor([0, *(grid.cells // 4 for grid in grids)]).cumsum(0)
    assert torch.equal(ends, reference.tensors["cu_seqlens_out"].long())


def test_compression_starts_as_the_mean_and_learns():
    """The released code sets all weights to zero: then no gradient reaches any of them."""
    compression, windows = WindowedTokenCompression(8), torch.randn(2, 5, 4, 8)
    close(compression(windows), windows.mean(dim=-2))
    for _ in range(2):
        compression.zero_grad()
        (compression(windows) - windows.amax(dim=-2)).square().sum().backward()
        for weight in compression.parameters():
            weight.data -= weight.grad
    assert all(weight.grad.any() for weight in compression.parameters())
    stuck = WindowedTokenCompression(8)
    for weight in stuck.parameters():
        weight.data.zero_()
    (stuck(windows) - windows.amax(dim=-2)).square().sum().backward()
    assert not any(weight.grad.any() for weight in stuck.parameters())


def test_rotation_is_a_product_of_complex_numbers():
    grid, heads = Grid(3, 5), torch.randn(2, 15, 3, 8)
    rows, columns = (each.flatten() for each in torch.meshgrid(torch.arange(3), torch.arange(5), indexing="ij"))
    turned = rotated_neighbours(heads, interleaved_grid_rotation(grid, 8, 10000.0, heads.device))
    for pair in range(4):
        places, frequency = (columns, rows)[pair % 2], 10000 ** (-4 * (pair // 2) / 8)
        number = torch.view_as_complex(heads[..., 2 * pair : 2 * pair + 2].contiguous())
        expected = torch.view_as_real(number * torch.polar(torch.ones(15), places * frequency)[:, None])
        close(turned[..., 2 * pair : 2 * pair + 2], expected)


@torch.no_grad()
def test_packed_is_one_by_one():
    """The path of kernels for packed views, with the plain kernel."""
    encoder = MoonViT(16, 3, 2, 24, 4, 16, compress_after=(1, 3)).eval()
    views = [torch.randn(3, *size) for size in ((16, 48), (32, 16), (16, 48))]
    grids = [Grid(view.shape[1] // 4, view.shape[2] // 4) for view in views]
    packed = torch.cat([encoder.embed(view[None]) for view in views], dim=1)
    result = encoder._run(packed, grids, [grid.cells for grid in grids])[0]
    alone = [encoder(view[None])[0][0] for view in views]
    close(result, torch.cat(alone))


def published(encoder, **config):
    """The files of a tower under the authors' names."""
    tensors = MOONVIT.write(encoder.state_dict())
    side = encoder.native_grid.rows
    tensors["patch_embed.pos_emb.weight"] = encoder.positions.detach().unflatten(0, (side, side)).contiguous()
    for name in [name for name in tensors if name.endswith("attn_layer.2.weight")]:
        tensors[name.replace("weight", "bias")] = torch.randn(encoder.width)
        tensors[name.replace("attn_layer.2", "zero_init_fc")] = torch.randn(encoder.width, encoder.width)
    return {"model_type": "moonvit", **SIZES, **PATCHES, **config}, tensors


@pytest.fixture
def folder(tmp_path):
    def write(config, tensors, prefix=""):
        (tmp_path / "config.json").write_text(json.dumps(config))
        named = {prefix + name: value.contiguous() for name, value in tensors.items()}
        save_file(named, tmp_path / "model.safetensors")
        return str(tmp_path)

    return write


@torch.no_grad()
@pytest.mark.parametrize("after", [(), (1, 3)])
def test_published_folder(folder, after):
    encoder = MoonViT(16, 3, 2, 24, 4, 16, compress_after=after).eval()
    merging = {"merger_layer_index": [each - 1 for each in after], "merging_method": "m_pooling"} if after else {}
    for prefix in ("", "model.vision_tower.vision_tower."):
        again = moonvit(folder(*published(encoder, **merging), prefix)).eval()
        assert again.compress_after == after
        view = torch.randn(1, 3, 32, 16)
        close(again(view)[0], encoder(view)[0])
    if after:
        with pytest.raises(ValueError, match=r"compresses after blocks \(1, 3\), not \(2,\)"):
            moonvit(folder(*published(encoder, **merging)), compress_after=(2,))


@torch.no_grad()
def test_new_compressions_are_the_mean_at_first(folder):
    encoder = MoonViT(16, 3, 2, 24, 4, 16).eval()
    compressing = moonvit(folder(*published(encoder)), compress_after=(3,)).eval()
    view = torch.randn(1, 3, 16, 32)
    assert compressing.compression == "learned"
    mean = MoonViT(16, 3, 2, 24, 4, 16, compress_after=(3,), compression="mean").eval()
    mean.load_state_dict(encoder.state_dict())
    close(compressing(view)[0], mean(view)[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [({"init_pos_emb_width": 3}, "only square ones"), ({"merging_method": "max"}, "merging_method 'max'")],
)
def test_what_is_not_supported_is_named(folder, config, message):
    with pytest.raises(ValueError, match=message):
        moonvit(folder(*published(MoonViT(16, 3, 2, 24, 4, 16), **config)))


def test_refined_patches_of_the_same_size_are_the_same():
    weight = torch.randn(5, 3, 7, 7)
    close(refined_patches(weight, 7), weight)


def test_larger_patches_see_enlarged_patches_the_same():
    """Enlarging loses nothing, so the products are equal; a smaller kernel can only be near."""
    weight, patches = torch.randn(5, 3, 7, 7), torch.randn(4, 3, 7, 7)
    large = F.interpolate(patches, size=(10, 10), mode="bilinear", align_corners=False)
    close(F.conv2d(large, refined_patches(weight, 10)), F.conv2d(patches, weight), atol=1e-4)


def test_smaller_patches_are_the_best_for_white_noise():
    weight, patches = torch.randn(1, 1, 7, 7), torch.randn(4000, 1, 7, 7)
    small = F.interpolate(patches, size=(5, 5), mode="bilinear", align_corners=False).flatten(1)
    wanted, best = F.conv2d(patches, weight).flatten(), refined_patches(weight, 5).flatten()
    fitted = torch.linalg.lstsq(small, wanted[:, None]).solution[:, 0]  # the best for these patches
    errors = [(small @ kernel - wanted).square().mean() for kernel in (fitted, best)]
    assert errors[1] < 1.02 * errors[0]


@torch.no_grad()
def test_a_folder_with_patches_of_another_size(folder):
    encoder = MoonViT(16, 3, 2, 24, 4, 16).eval()
    smaller = moonvit(folder(*published(encoder)), patch_size=2)
    assert (smaller.patch_size, smaller.image_size) == (2, 8)
    close(smaller.patches.weight, refined_patches(encoder.patches.weight, 2))
    close(smaller.positions, encoder.positions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "not a multiple of 4 x heads 3"),
        ({"patch_size": 5}, "image_size 16 is not a multiple of patch_size 5"),
        ({"compress_after": (3, 1)}, "ascending blocks from 1 to 3"),
        ({"compress_after": (0,)}, "ascending blocks from 1 to 3"),
        ({"compress_after": (4,)}, "ascending blocks from 1 to 3"),
        ({"compression": "max"}, "unknown compression 'max': learned or mean"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MoonViT(**({"width": 16, "depth": 3, "heads": 2, "mlp_width": 24, "patch_size": 4, "image_size": 16} | options))
