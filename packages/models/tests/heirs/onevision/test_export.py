"""Exported LLaVA-OneVisions: transformers reads them again and computes the same, with its own processor."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration, SiglipVisionModel
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from foveal.encoders import siglip_vit
from foveal.models import IMAGE_TOKEN_ID, Turn, Video, load
from foveal.models.checkpoints.export import export
from foveal.models.published.to_transformers import no_equivalent

SIDE = 23
CANVASES = [[2 * SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, 2 * SIDE]]


@torch.no_grad()
@pytest.mark.parametrize(
    "fields", [{}, {"image_aspect_ratio": "anyres", "image_grid_pinpoints": CANVASES}], ids=["OneVision", "interleave"]
)
def test_read_again_by_transformers_and_by_us(original, picture, tmp_path, fields):
    """From LLaVA's layout to transformers': one picture, on whose ties of canvases the two differ, several, a video."""
    model = original(**fields)
    exported = export(model, tmp_path / "out")
    assert exported.kind == "LlavaOnevisionForConditionalGeneration"
    assert exported.difference < 1e-5
    theirs = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    processor.image_processor = LlavaOnevisionImageProcessorPil.from_pretrained(tmp_path / "out")
    again = load(tmp_path / "out")
    for sizes in ([(50, 40)], [(20, 20)], [(100, 90)], [(50, 40), (30, 60)]):
        pictures = [picture(*size) for size in sizes]
        turns = [Turn("user", "<image>" * len(sizes) + "\nWhat?")]
        sample = model.processor.encode_prompt(pictures, turns)
        asked = processor(images=[pictures], text="<image>" * len(sizes), return_tensors="pt")
        assert int((asked.input_ids == processor.image_token_id).sum()) == int(
            (sample.input_ids == IMAGE_TOKEN_ID).sum()
        )
        ids = sample.input_ids[None]
        ours = model(ids, sample.views, sizes=sample.sizes)
        asked = asked | {"input_ids": ids.masked_fill(ids == IMAGE_TOKEN_ID, processor.image_token_id)}
        asked |= {"attention_mask": torch.ones_like(ids)}
        torch.testing.assert_close(theirs(**asked).logits, ours, atol=1e-5, rtol=0)
        other = again.processor.encode_prompt(pictures, turns)
        torch.testing.assert_close(
            again(other.input_ids[None], other.views, sizes=other.sizes), ours, atol=1e-5, rtol=0
        )
    frames = [picture(9, 8)] * 2
    videos = [each.processor.encode_prompt([Video(frames)], [Turn("user", "<image>")]) for each in (model, again)]
    logits = [
        each(video.input_ids[None], video.views, sizes=video.sizes)
        for each, video in zip((model, again), videos, strict=True)
    ]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=0)
    asked = processor(videos=[frames], text="<video>", return_tensors="pt")
    assert int((asked.input_ids == processor.video_token_id).sum()) == 2 * 4 + 1


def test_as_the_folder_that_was_opened(model, folder, tmp_path):
    """Opened from transformers' layout and exported, the files describe and hold the same."""
    export(model, tmp_path / "out")
    before, after = (load_file(where / "model.safetensors") for where in (folder, tmp_path / "out"))
    # The folder is one of transformers 5, the exported one has the names of published folders.
    after = {name.replace("vision_tower.vision_model.", "vision_tower."): tensor for name, tensor in after.items()}
    assert before.keys() == after.keys()
    # The norm after the last block is not used, and so not kept.
    assert all(torch.equal(after[name], before[name]) for name in before if "post_layernorm" not in name)
    for name in ("config.json", "processor_config.json"):
        old, new = (json.loads((where / name).read_text()) for where in (folder, tmp_path / "out"))
        for key, value in old.items():
            if key not in ("dtype", "pad_token_id", "text_config", "vision_config"):
                assert new[key] == value or (isinstance(value, dict) and new[key].items() <= value.items()), key


def test_what_has_no_equivalent(original, tmp_path, picture):
    model = original()
    model.processor.plan.fill = (0, 0, 0)
    assert no_equivalent(model) == (
        "several pictures are padded with (0, 0, 0), in transformers with the mean colour (127, 127, 127)"
    )
    model = original(mm_spatial_pool_stride=3)
    reason = "its frames are shrunk by 3, those of transformers' LLaVA-OneVision by 2"
    assert export(model, tmp_path / "parts").reason == reason
    pixels = torch.randn(2, 3, SIDE, SIDE)
    theirs = SiglipVisionModel.from_pretrained(tmp_path / "parts" / "encoder")
    for features in (
        theirs(pixels, output_hidden_states=True).hidden_states[-1],
        siglip_vit(str(tmp_path / "parts" / "encoder"), layers=(-1,))(pixels)[0],
    ):
        torch.testing.assert_close(features, model.encoder(pixels)[0], atol=1e-5, rtol=0)
