"""LLaVA-OneVision beside transformers' own model and processor: views, ids, counts, logits and answers."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import LlavaOnevisionProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from foveal.core import Grid, Size
from foveal.models import IMAGE_TOKEN_ID, OneVisionMerge, OneVisionPlan, Turn, Video, answer, generate
from foveal.models.views.company import Beside, Frame, LastFrame
from foveal.models.views.normalise import normalised

QUESTION = [Turn("user", "<image>\nWhat is it?")]
PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{}\nWhat is it?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[(50, 40)], [(20, 90)], [(23, 23)], [(200, 190)], [(50, 40), (30, 60)]], ids=str)
def test_pictures(model, reference, processor, picture, sizes):
    """One picture has tiles, shrunk if they are too many; several have one view each, padded to a square."""
    pictures = [picture(*size) for size in sizes]
    text = "<image>\n" * (len(sizes) - 1) + "<image>"
    asked = processor(images=[pictures], text=PROMPT.format(text), return_tensors="pt")
    sample = model.processor.encode_prompt(pictures, [Turn("user", f"{text}\nWhat is it?")])
    assert sample.input_ids.masked_fill(sample.input_ids == IMAGE_TOKEN_ID, 259).tolist() == asked.input_ids[0].tolist()
    views = torch.stack(normalised(sample.views, model.encoder))
    if len(sizes) == 1:
        assert len(views) == len(asked.pixel_values[0]) > 1
    close(views, asked.pixel_values.flatten(0, 1))
    batch = model.processor.collate([sample], side="left")
    logits = reference(**asked).logits
    assert logits.std() > 0.1
    close(model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes), logits)
    theirs = reference.generate(**asked, max_new_tokens=6, do_sample=False, eos_token_id=None)
    answered = reference.generate(**asked, max_new_tokens=6, do_sample=False, eos_token_id=model.processor.stop_ids)
    assert len(theirs[0]) == len(asked.input_ids[0]) + 6
    (ours,) = generate(model, batch, max_new_tokens=6)
    assert ours == model.processor.decode(answered[0, len(asked.input_ids[0]) :])


@settings(max_examples=60, deadline=None)
@given(size=st.builds(Size, st.integers(1, 2600), st.integers(1, 2600)))
@example(size=Size(1375, 1125))  # 99 columns, computed as 98.999...
@example(size=Size(2214, 1722))
@example(size=Size(2304, 2304))
def test_tokens_at_the_published_size(size):
    """As many as transformers' processor counts; the original code does not round, and differs for few sizes."""
    plan = OneVisionPlan(tie_order="height_first")
    with torch.device("meta"):
        merge = OneVisionMerge(8, rounded=True)
    theirs = object.__new__(LlavaOnevisionProcessor)
    theirs.num_image_tokens, theirs.vision_aspect_ratio = 729, "anyres_max_9"
    theirs.image_processor = LlavaOnevisionImageProcessorPil()
    tiles = plan.tile_grid(size)
    grids = [Grid(27, 27)] * len(plan.views(size))
    assert merge.num_tokens(grids, tiles, size) == theirs._get_number_of_features(size.height, size.width, 384, 384)
    assert OneVisionMerge(8).num_tokens([Grid(27, 27)], None, Frame(*size)) == 196
    assert OneVisionMerge(8).num_tokens([Grid(27, 27)], None, LastFrame(*size)) == 197
    assert OneVisionMerge(8).num_tokens([Grid(27, 27)], None, Beside(*size)) == 730


def test_the_original_code_does_not_round():
    size, grids = Size(1375, 1125), [Grid(27, 27)] * 13
    plan = OneVisionPlan()
    assert plan.tile_grid(size) == Grid(3, 4)
    assert OneVisionMerge(8).num_tokens(grids, Grid(3, 4), size) == 8748
    assert OneVisionMerge(8, rounded=True).num_tokens(grids, Grid(3, 4), size) == 7209


@torch.no_grad()
def test_video(model, reference, processor, picture):
    """Frames have one view each, shrunk to 2 x 2 of 3 x 3 tokens, and one newline after the last."""
    frames = [picture(50, 40 + number) for number in range(3)]
    sample = model.processor.encode_prompt([Video(frames)], QUESTION)
    pixels = torch.stack(normalised(sample.views, model.encoder))
    assert pixels.shape == (3, 3, 23, 23)
    visual = int((sample.input_ids == IMAGE_TOKEN_ID).sum())
    assert visual == 3 * 4 + 1
    # The ids of their processor, whose frames are resized by torchvision: within a few grey levels.
    stacked = np.stack([np.asarray(frame.resize((50, 40))) for frame in frames])
    asked = processor(
        videos=[torch.from_numpy(stacked).movedim(-1, 1)], text=PROMPT.format("<video>"), return_tensors="pt"
    )
    their_ids = sample.input_ids.masked_fill(sample.input_ids == IMAGE_TOKEN_ID, 260)[None]
    assert their_ids.tolist() == asked.input_ids.tolist()
    again = model.processor.encode_prompt([Video(list(stacked))], QUESTION)
    assert (torch.stack(normalised(again.views, model.encoder)) - asked.pixel_values_videos[0]).abs().max() < 0.05
    expected = reference(input_ids=their_ids, pixel_values_videos=pixels[None]).logits
    batch = model.processor.collate([sample], side="left")
    close(model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes), expected)
    text = answer(model, Video(frames), "What is it?", max_new_tokens=4)
    assert text == generate(model, batch, max_new_tokens=4)[0]


@torch.no_grad()
def test_a_video_beside_a_picture_in_one_batch_with_others(model, reference, picture):
    """The picture keeps its tiles, as it is the only one; the batch gives what each sample gives alone."""
    mixed = [Turn("user", "<image> and <image>\nWhat is it?")]
    samples = [
        model.processor.encode_prompt([Video([picture(30, 40)] * 2), picture(50, 40)], mixed),
        model.processor.encode_prompt([picture(50, 40), picture(30, 60)], mixed),
        model.processor.encode_prompt([picture(70, 20)], QUESTION),
    ]
    assert len(samples[0].views) == 2 + len(model.processor.plan.views(samples[0].sizes[2]))
    assert len(samples[0].views) > 4
    together = model.processor.collate(samples, side="left")
    texts = generate(model, together, max_new_tokens=4)
    for sample, text in zip(samples, texts, strict=True):
        alone = model.processor.collate([sample], side="left")
        assert generate(model, alone, max_new_tokens=4) == [text]
    pixels = normalised(samples[0].views, model.encoder)
    ids = samples[0].input_ids.clone()
    places = (ids == IMAGE_TOKEN_ID).nonzero().squeeze(1)
    ids[places[:9]], ids[places[9:]] = 260, 259
    expected = reference(
        input_ids=ids[None],
        pixel_values_videos=torch.stack(pixels[:2])[None],
        pixel_values=torch.stack(pixels[2:])[None],
        image_sizes=torch.tensor([[40, 50]]),
    ).logits
    alone = model.processor.collate(samples[:1])
    close(model(alone.input_ids, alone.views, alone.attention_mask, sizes=alone.sizes), expected)
