"""Folders of LLaVA-UHD v2's own code, with the names that it gives to its weights."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

from foveal.connectors import HiwinAttention
from foveal.connectors.hiwin import hiwin_map
from foveal.core import Size
from foveal.encoders import InverseSemanticPyramid, VisionTransformer, clip_weights
from foveal.encoders.pyramid import VDIM
from foveal.models import byte_tokenizer, llama, load, save
from foveal.models.published import open_published

VISION = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 1}
SIZE, PATCH, WIDTH, QUERIES = 28, 7, 256, 9
CONFIG = {
    "model_type": "llava_llama",
    "architectures": ["LlavaLlamaForCausalLM"],
    "vocab_size": 260,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "image_aspect_ratio": "pad",
    "mm_hidden_size": 64,
    "mm_projector_type": "adapt_spatial_resampler_v2",
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "feature_scale_mask": 5,
    "model_mode": "uhd_v2",
}


class Reference:
    """Parts with random weights, and the tensors of a checkpoint with them."""

    def __init__(self, scales):
        torch.manual_seed(0)
        clip = CLIPVisionModel(CLIPVisionConfig(**VISION, image_size=SIZE, patch_size=PATCH)).eval()
        self.tower = VisionTransformer(64, 3, 1, 48, PATCH, SIZE)
        named = {name.removeprefix("vision_model."): value for name, value in clip.state_dict().items()}
        self.tower.load_state_dict(clip_weights(named, self.tower, source="CLIP"))
        self.pyramid = InverseSemanticPyramid(self.tower, scales=scales).eval()
        self.connector = HiwinAttention((64,) * len(scales), WIDTH, queries=QUERIES, heads=2).eval()
        self.decoder = llama(260, width=WIDTH, depth=2, heads=4, mlp_width=64, context=2048).eval()
        for part in (self.pyramid.steps, self.pyramid.mix, self.connector):
            for weight in part.parameters():
                weight.data.add_(0.1 * torch.randn_like(weight))
        own = {name: each for name, each in self.pyramid.state_dict().items() if not name.startswith("tower.")}
        projector = {
            **hiwin_map(scales).write(self.connector.state_dict()),
            "query": torch.randn(QUERIES, WIDTH),
            "kv_proj.weight": torch.randn(WIDTH, 64),
            **{f"upsampler.upsampler.{name}": value for name, value in VDIM.write(own).items()},
            "upsampler.model.1.norm.weight": torch.randn(64),
        }
        for scale in {1, 2, 4, 8} - set(scales):
            projector |= {f"features_{scale}x_projector.weight": torch.randn(WIDTH, 64)}
            projector |= {f"features_{scale}x_projector.bias": torch.randn(WIDTH)}
            projector |= {f"feature_{scale}x_embedding": torch.randn(1, 1, WIDTH)}
        self.tensors = dict(self.decoder.state_dict())
        self.tensors |= {f"model.mm_projector.{name}": value for name, value in projector.items()}
        self.tensors |= {f"model.vision_tower.vision_tower.vision_model.{name}": each for name, each in named.items()}


@pytest.fixture
def write(tmp_path):
    def write(tensors, **config):
        (tmp_path / "config.json").write_text(json.dumps(CONFIG | config))
        byte_tokenizer().save_pretrained(tmp_path)
        save_file({name: value.clone().contiguous() for name, value in tensors.items()}, tmp_path / "model.safetensors")
        return tmp_path

    return write


@torch.no_grad()
@pytest.mark.parametrize(("mask", "scales"), [(5, (1, 4)), (7, (1, 2, 4)), (2, (2,))])
def test_a_folder_opens(write, tmp_path, mask, scales):
    reference = Reference(scales)
    model = open_published(write(reference.tensors, feature_scale_mask=mask))
    assert (model.encoder.scales, model.connector.queries, model.connector.heads) == (scales, QUERIES, 2)
    plan = model.processor.plan
    assert (plan.scale, plan.patch, plan.max_slices, plan.separators) == (SIZE, PATCH, 7, True)
    view = torch.randn(3, 21, 35)
    maps = reference.pyramid(view[None])
    expected = reference.connector(maps, reference.pyramid.grids(Size(35, 21)))
    assert torch.equal(torch.stack(model.visual_tokens([view])), expected)
    ids = torch.arange(20)[None]
    assert torch.equal(model(ids), reference.decoder(ids).logits)
    again = load(save(model, tmp_path / "again"))
    assert torch.equal(torch.stack(again.visual_tokens([view])), expected)
    evaluated = load(tmp_path, plan="uhd_release_evaluation").processor.plan
    assert (evaluated.max_slices, evaluated.long_side) == (7, 1024)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"feature_scale_mask": 1}, "feature_scale_mask is 1; known are sums of 1, 2 and 4 with an enlarged map"),
        ({"feature_scale_mask": 13}, "not maps of 8 times the size"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is set"),
        ({"model_type": "llava_gemma"}, "llava_gemma"),
        ({"s2": True}, "views of several scales"),
        ({"mm_vision_select_feature": "cls_patch"}, "without a class token"),
    ],
)
def test_what_is_not_known_is_named(write, config, message):
    with pytest.raises(ValueError, match=message):
        open_published(write(Reference((1, 4)).tensors, **config))


def test_weights_that_are_missing_or_left_over_are_named(write):
    tensors = Reference((1, 4)).tensors
    name = "model.mm_projector.upsampler.upsampler.up2.range_temp"
    with pytest.raises(ValueError, match=r"steps\.1\.temperature"):
        open_published(write({key: value for key, value in tensors.items() if key != name}))
    with pytest.raises(ValueError, match=r"up3\.range_temp"):
        open_published(write(tensors | {name.replace("up2", "up3"): torch.zeros(())}))
