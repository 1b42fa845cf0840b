"""SAM, ConvNeXt, LLaVA-HR, DeepSeek-VL and DeepStack-V compared with reference outputs."""

import pytest
import torch

from foveal.core import Size, load_exact
from foveal.encoders import (
    ConvNeXt,
    MixtureOfResolution,
    SamSiglipHybrid,
    SamViTDet,
    StackedVisionTransformer,
    VisionTransformer,
    clip_weights,
    convnext_weights,
    deepseek_vl_weights,
    llava_hr_weights,
    sam_weights,
    siglip_tower,
)
from foveal.encoders.convnext import TIMM, TRANSFORMERS
from foveal.encoders.sam import relative


def close(ours, reference, atol=1e-5):
    torch.testing.assert_close(ours, reference, atol=atol, rtol=0)


def enlarged(image, times):
    return image.repeat_interleave(times, dim=-1).repeat_interleave(times, dim=-2)


def sam(config, **options):
    return SamViTDet(
        config["width"],
        config["layers"],
        config["heads"],
        config["patch_size"],
        config["image_size"],
        window=config["window_size"],
        global_blocks=tuple(config["global_attn_indexes"]),
        neck_width=config["out_chans"],
        downsample=tuple(config["downsample_channels"]),
        mlp_ratio=config.get("mlp_ratio", 4.0),
        **options,
    ).eval()


@pytest.fixture
def vary_tower(golden):
    reference = golden("vary/sam_vary")
    weights = golden.strip(reference.tensors, "w.")

    def build(**options):
        model = sam(reference.meta["config"], **options)
        load_exact(model, sam_weights(weights, model, source="reference"), source="reference")
        return model

    return reference, build


@torch.no_grad()
def test_sam_and_the_convolutions_of_vary(vary_tower):
    reference, build = vary_tower
    model, tensors = build(), reference.tensors
    states = model.run(tensors["pixel_values"])
    close(states[0], tensors["embedded"])
    for number, state in enumerate(states[1:]):
        close(state, tensors[f"block.{number}"])
    close(model.neck(states[-1]), tensors["neck"])
    close(model(tensors["pixel_values"])[0], tensors["tokens"])
    assert model.grids(Size(72, 72)) == ((3, 3),)


@torch.no_grad()
@pytest.mark.parametrize("antialias", [True, False])
def test_sam_at_other_sizes(golden, vary_tower, antialias):
    _, build = vary_tower
    model, reference = build(antialias=antialias), golden("vary/sam_vary_resized")
    tensors, end = reference.tensors, f"antialias_{str(antialias).lower()}"
    for name, case in reference.meta["cases"].items():
        close(model.positions_of(tuple(case["grid_hw"])), tensors[f"{name}.pos_embed_{end}"][0])
        expected = tensors[f"{name}.map_{end}"]
        close(model(tensors[f"{name}.pixel_values"])[0], expected.flatten(2).mT)
        height, width = case["input_hw"]
        assert model.grids(Size(width, height)) == (tuple(expected.shape[-2:]),)


def test_tables_of_relative_positions(golden, vary_tower):
    _, build = vary_tower
    table = build().blocks[1].rows
    for name, expected in golden("vary/sam_vary_resized").tensors.items():
        if name.startswith("rel_pos."):
            queries, keys = map(int, name.removeprefix("rel_pos.").split("x"))
            if queries == keys:  # self-attention; the others belong to a decoder that this project does not have
                close(relative(table.detach(), queries), expected)


@torch.no_grad()
@pytest.mark.parametrize("names", ["transformers", "timm"])
def test_convnext(golden, names):
    reference = golden("encoders/convnext")
    meta, tensors = reference.meta, reference.tensors
    weights = golden.strip(tensors, "w.")
    model = ConvNeXt(tuple(meta["hidden_sizes"]), tuple(meta["depths"]), layers=(0, 1, 2, 3, 4)).eval()
    if names == "timm":
        weights = {meta["hf_to_timm"][name]: value for name, value in weights.items()}
    load_exact(model, convnext_weights(weights, model, source="reference"), source="reference")
    maps = model(tensors["pixel_values"])
    for number, features in enumerate(maps):
        close(features, tensors[f"hidden_states.{number}"].flatten(2).mT)
    close(maps[-1], tensors["last_hidden_state"].flatten(2).mT)
    assert model.grids(Size(96, 64)) == ((16, 24), (16, 24), (8, 12), (4, 6), (2, 3))
    ours = model.state_dict()
    for table in (TIMM, TRANSFORMERS):
        assert table.read(table.write(ours)).keys() == ours.keys()


@torch.no_grad()
def test_five_stages(golden):
    reference = golden("encoders/convnext_5stage")
    meta, tensors = reference.meta, reference.tensors
    model = ConvNeXt(tuple(meta["hidden_sizes"]), tuple(meta["depths"])).eval()
    weights = convnext_weights(golden.strip(tensors, "w."), model, source="reference")
    load_exact(model, weights, source="reference")
    close(model(enlarged(tensors["base_image"], 4))[0], tensors["output"])


@torch.no_grad()
@pytest.mark.parametrize(("case", "adapters"), [("low", True), ("low", False), ("high", True)])
def test_llava_hr(golden, case, adapters):
    reference = golden("encoders/llava_hr_multipath")
    meta, tensors = reference.meta, reference.tensors
    expected = tensors[f"{case}.output" if adapters else f"{case}.output_no_adapter"]
    clip, convnext = meta["clip"], meta["convnext"]
    fast = VisionTransformer(
        clip["hidden_size"],
        clip["num_hidden_layers"],
        clip["num_attention_heads"],
        clip["intermediate_size"],
        clip["patch_size"],
        clip["image_size"],
        layers=(-1,),
        antialias=True,
    )
    model = MixtureOfResolution(fast, ConvNeXt(tuple(convnext["dims"]), tuple(convnext["depths"])), adapters=adapters)
    weights = llava_hr_weights(golden.strip(tensors, "w."), model, source="reference")
    load_exact(model.eval(), weights, source="reference")
    pixels = enlarged(tensors[f"{case}.base_image"], meta["cases"][case]["rep"])
    close(model(pixels)[0], expected, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("case", ["equal", "up", "pool"])
def test_llava_hr_adapter(golden, case):
    from foveal.encoders.llava_hr import SlowToFast, resized_to

    reference = golden("encoders/llava_hr_adapters")
    meta, tensors = reference.meta, reference.tensors
    mixer = SlowToFast(meta["fast_dim"], meta["slow_dim"])
    mixer.load_state_dict(golden.strip(tensors, "w.s2f."))
    grid, slow = tuple(meta["fast_grid"]), tensors[f"{case}.slow"]
    close(mixer(tensors[f"{case}.fast"], slow, grid), tensors[f"{case}.s2f_output"])
    align = golden.strip(tensors, "w.align.")
    ours = torch.nn.functional.linear(tensors[f"{case}.fast"], align["fast_proj.weight"], align["fast_proj.bias"])
    ours += torch.nn.functional.linear(
        resized_to(slow, grid).flatten(2).mT, align["slow_proj.weight"], align["slow_proj.bias"]
    )
    close(ours, tensors[f"{case}.align_output"])


@torch.no_grad()
def test_deepseek_vl(golden):
    reference = golden("encoders/deepseek_vl_hybrid")
    meta, tensors = reference.meta, reference.tensors
    low = meta["siglip"]
    model = SamSiglipHybrid(
        sam(meta["sam"]),
        siglip_tower(
            low["width"],
            low["layers"],
            low["heads"],
            low["mlp_ratio"] * low["width"],
            low["patch_size"],
            low["image_size"],
            layers=(-1,),
            use_final_norm=True,
            activation="gelu",
        ),
    ).eval()
    weights = deepseek_vl_weights(golden.strip(tensors, "w.vision_model."), model, source="reference")
    load_exact(model, weights, source="reference")
    high, low_map = model(tensors["image"])
    close(high, tensors["high"])
    close(low_map, tensors["low"])
    model.first_share.zero_()
    assert not torch.allclose(model(tensors["image"])[0], tensors["high"], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("name", "layer"), [("deepstack_v", -2), ("deepstack_v_post", -1)])
def test_deepstack_v(golden, name, layer):
    reference = golden(f"deepstack/{name}")
    meta, tensors = reference.meta, reference.tensors
    clip = meta["clip"]
    tower = VisionTransformer(
        clip["hidden"], clip["layers"], clip["heads"], clip["inter"], clip["patch"], clip["image"], layers=(layer,)
    )
    weights = golden.strip(tensors, "w.")
    model = StackedVisionTransformer(
        tower, start=meta["start_layer"], crops=meta["num_crops"], post_blocks=meta["post_encoder_layers"]
    ).eval()
    inner = {key.removeprefix("vision_tower.vision_model."): value for key, value in weights.items()}
    post = {key: inner.pop(key) for key in list(inner) if key.startswith("post_encoder.")}
    load_exact(tower, clip_weights(inner, tower, source="reference"), source="reference")
    if post:
        from foveal.encoders.clip import TRANSFORMERS as CLIP_NAMES

        named = {key.replace("post_encoder", "encoder.layers"): value for key, value in post.items()}
        read = CLIP_NAMES.read(named)
        load_exact(model.post, {key.removeprefix("blocks."): value for key, value in read.items()}, source="reference")
    views = [torch.stack(of_input) for of_input in zip(tensors["views.0"], tensors["views.1"], strict=True)]
    close(model(*views)[0], tensors["features"])
    ragged = model.encode_views([*tensors["views.0"], *tensors["views.1"]])
    close(torch.stack([features for (features,) in ragged]), tensors["features"])
