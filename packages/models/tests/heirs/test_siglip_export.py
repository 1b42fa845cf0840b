"""Exported LLaVAs with a SigLIP, and with stretched pictures: read again by transformers and by ourselves."""

from functools import partial

import pytest
import torch
from packages.models.tests.heirs.references import shaken
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer, siglip_tower
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResMerge,
    AnyResPlan,
    PadToSquare,
    StretchToSquare,
    Turn,
    VisionLanguageModel,
    llama,
    load,
)
from foveal.models.checkpoints.export import export
from foveal.models.views.normalise import normalised

SIDE, PATCH = 23, 7
SIGLIP = partial(siglip_tower, 64, 3, 1, 24, PATCH, SIDE)
CLIP = partial(VisionTransformer, 64, 3, 1, 24, PATCH, SIDE)
MODELS = {
    "stretched": (SIGLIP, StretchToSquare(SIDE), None),
    "padded": (SIGLIP, PadToSquare(SIDE, fill=(127, 127, 127)), None),
    "AnyRes": (SIGLIP, AnyResPlan(SIDE), AnyResMerge),
    "exact GELU": (partial(SIGLIP, activation="gelu"), StretchToSquare(SIDE), None),
    "CLIP, stretched": (CLIP, StretchToSquare(SIDE), None),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_read_again_by_transformers_and_by_us(tmp_path, chatml_tokenizer, name):
    encoder, plan, merge = MODELS[name]
    torch.manual_seed(2)
    model = VisionLanguageModel(
        encoder(),
        partial(MlpProjector, depth=2),
        llama(270, width=32, depth=2, heads=2, mlp_width=24, context=512),
        chatml_tokenizer,
        plan,
        merge=merge,
        template="chatml",
        max_length=512,
    )
    shaken(model, 0.2)
    exported = export(model, tmp_path / "out")
    kind = LlavaForConditionalGeneration if merge is None else LlavaNextForConditionalGeneration
    assert (exported.kind, exported.difference < 1e-5) == (kind.__name__, True)
    theirs = kind.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out", backend="pil")
    again = load(tmp_path / "out", template="chatml")
    assert type(again.processor.plan) is type(plan)
    for size in ((61, 40), (20, 45)):
        picture = Image.effect_noise(size, 90).convert("RGB")
        sample = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat?")])
        ids = sample.input_ids[None]
        ours = model(ids, sample.views, sizes=sample.sizes)
        assert ours.std() > 0.1
        asked = processor(images=picture, text="<image>", return_tensors="pt")
        assert len(asked.input_ids[0]) == int((ids == IMAGE_TOKEN_ID).sum())
        pixels = torch.stack(normalised(sample.views, model.encoder))
        torch.testing.assert_close(asked.pixel_values.flatten(0, -4), pixels, atol=1e-5, rtol=0)
        given = asked | {
            "input_ids": ids.masked_fill(ids == IMAGE_TOKEN_ID, asked.input_ids[0, 0]),
            "attention_mask": torch.ones_like(ids),
        }
        torch.testing.assert_close(theirs(**given).logits[..., :270], ours, atol=1e-5, rtol=0)
        reread = again.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat?")])
        logits = again(reread.input_ids[None], reread.views, sizes=reread.sizes)
        torch.testing.assert_close(logits[..., :270], ours, atol=1e-5, rtol=0)
