"""preprocessor_config.json: the views are those of transformers' image processors, and what cannot be is refused."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaNextConfig
from transformers import LlavaNextForConditionalGeneration as LlavaNext
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from foveal.models import AnyResPlan, CropToSquare, PadToSquare, StretchToSquare, byte_tokenizer, load, save
from foveal.models.published.image_processors import QWEN2_VL
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.views.normalise import normalised

SIDE = 28
SQUARE = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
STRETCHED = {"size": {"height": SIDE, "width": SIDE}}
OTHER_COLOURS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
SMALL = {"height": 14, "width": 14}
PINPOINTS = [[56, 28], [28, 56], [56, 56]]
SIZES = [(28, 28), (90, 31), (20, 71), (57, 56), (13, 11)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A LLaVA in transformers' layout, without settings of pictures."""
    return written(tmp_path_factory.mktemp("llava"), LlavaForConditionalGeneration, LlavaConfig)


@pytest.fixture(scope="module")
def next_folder(tmp_path_factory):
    """The same of LLaVA-NeXT."""
    return written(tmp_path_factory.mktemp("next"), LlavaNext, LlavaNextConfig, image_grid_pinpoints=PINPOINTS)


def written(folder, kind, described, **options):
    vision = {"hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
    text = {"vocab_size": 272, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1}
    config = described(
        vision_config=CLIPVisionConfig(**vision, image_size=SIDE, patch_size=7),
        text_config=LlamaConfig(**text, num_attention_heads=2, max_position_embeddings=256),
        image_token_index=271,
        **options,
    )
    kind(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def opened(tmp_path):
    """Opens a folder together with settings of pictures, which a processor has written or are given."""

    def opened(folder, settings, name="preprocessor_config.json"):
        copy = tmp_path / "opened"
        copy.mkdir(exist_ok=True)
        for path in folder.iterdir():
            if not (copy / path.name).exists():
                (copy / path.name).symlink_to(path)
        if isinstance(settings, dict | list):
            (copy / name).write_text(json.dumps(settings))
        else:
            settings.save_pretrained(copy)
        return load(copy)

    return opened


def pictures():
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in SIZES]


def check_pixels(model, processor):
    for picture in pictures():
        views = [torch.from_numpy(np.array(view)).permute(2, 0, 1) for view in model.processor.plan.cut(picture)]
        theirs = processor(picture, return_tensors="pt")["pixel_values"].reshape(-1, 3, SIDE, SIDE)
        torch.testing.assert_close(torch.stack(normalised(views, model.encoder)), theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("processor", "plan"),
    [
        (CLIPImageProcessorPil(**SQUARE), CropToSquare),
        (LlavaImageProcessorPil(**SQUARE, do_pad=False, **OTHER_COLOURS), CropToSquare),
        (LlavaImageProcessorPil(**SQUARE, do_pad=True), PadToSquare),
        (LlavaImageProcessorPil(**SQUARE, do_pad=True, do_center_crop=False, **OTHER_COLOURS), PadToSquare),
        (LlavaImageProcessorPil(**SQUARE, do_pad=True, do_normalize=False), PadToSquare),
        (CLIPImageProcessorPil(**STRETCHED, do_center_crop=False), StretchToSquare),
        (CLIPImageProcessorPil(**SQUARE | STRETCHED), StretchToSquare),
    ],
)
def test_the_views_are_theirs(folder, opened, tmp_path, processor, plan):
    model = opened(folder, processor)
    assert type(model.processor.plan) is plan
    check_pixels(model, processor)
    again = load(save(model, tmp_path / "saved"))
    assert type(again.processor.plan) is plan
    check_pixels(again, processor)


def test_the_views_of_llava_next_are_theirs(next_folder, opened, tmp_path):
    processor = LlavaNextImageProcessorPil(**SQUARE, image_grid_pinpoints=PINPOINTS, **OTHER_COLOURS)
    model = opened(next_folder, processor)
    assert model.processor.plan.candidates == ((2, 1), (1, 2), (2, 2))
    check_pixels(model, processor)
    check_pixels(load(save(model, tmp_path / "saved")), processor)
    with pytest.raises(ValueError, match=r"image_grid_pinpoints is \[\[28, 56\]\], in config\.json"):
        opened(next_folder, LlavaNextImageProcessorPil(**SQUARE, image_grid_pinpoints=[[28, 56]]))
    with pytest.raises(ValueError, match=r"crop_size is \{'height': 14"):
        opened(next_folder, {**SQUARE, "image_processor_type": "LlavaNextImageProcessor", "crop_size": SMALL})
    with pytest.raises(ValueError, match="image_processor_type is 'CLIPImageProcessor', known are LlavaNextImage"):
        opened(next_folder, CLIPImageProcessorPil(**SQUARE))


def test_where_the_settings_are_and_that_the_choice_is_logged(folder, next_folder, opened, caplog):
    with caplog.at_level(logging.INFO, logger="foveal.models.published"):
        assert isinstance(load(folder).processor.plan, PadToSquare)
        assert isinstance(load(next_folder).processor.plan, AnyResPlan)
        opened(folder, SQUARE)
    said = [record.message for record in caplog.records if "views are cut by" in record.message]
    assert said[0] == f"{folder}: views are cut by PadToSquare(28), as LLaVA's own code, since no file says otherwise"
    assert "by AnyResPlan(28)" in said[1]
    assert said[2].endswith("views are cut by CropToSquare(28), as preprocessor_config.json says")
    assert len(said) == 3
    # As old and as quick versions of transformers write it; settings inside of processor_config.json win.
    old = opened(folder, {"size": SIDE, "crop_size": SIDE, "feature_extractor_type": "CLIPFeatureExtractor"})
    assert isinstance(old.processor.plan, CropToSquare)
    quick = {"image_processor_type": "LlavaImageProcessorFast", "do_pad": True, **SQUARE}
    assert isinstance(opened(folder, quick).processor.plan, PadToSquare)
    assert isinstance(opened(folder, {"patch_size": 7}, "processor_config.json").processor.plan, PadToSquare)
    nested = {"image_processor": {**SQUARE, **STRETCHED}}
    assert isinstance(opened(folder, nested, "processor_config.json").processor.plan, StretchToSquare)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"size is \{'shortest_edge': 224\}.*takes views of 28 pixels"),
        ({**SQUARE, "do_resize": False}, "do_resize is False"),
        ({**SQUARE, "do_center_crop": False}, "do_center_crop is False.*not square"),
        ({**SQUARE, "size": {"shortest_edge": 32}}, r"crop_size is \{'height': 28, 'width': 28\}"),
        ({**SQUARE, "size": {"longest_edge": 28}}, "size is {'longest_edge': 28}"),
        ({**SQUARE, "size": {"height": 28, "width": 14}}, "only a square and shortest_edge"),
        ({**SQUARE, "resample": 2}, r"resample is 2.*bicubic"),
        ({**SQUARE, "do_rescale": False}, "rescale_factor is"),
        ({**SQUARE, "rescale_factor": 1 / 127.5}, "rescale_factor is"),
        ({**SQUARE, "image_mean": [0.5]}, r"image_mean is \[0\.5\].*three numbers"),
        ({**SQUARE, "image_std": [0.5, 0, 1]}, "deviations above 0"),
        ({**SQUARE, "image_processor_type": "BlipImageProcessor"}, "image_processor_type is 'BlipImageProcessor'"),
        ([], "is damaged"),
    ],
)
def test_what_is_refused(folder, opened, settings, message):
    with pytest.raises(ValueError, match=rf"preprocessor_config\.json.*{message}"):
        opened(folder, settings)


NATIVE = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "patch_size": 8,
    "size": {"shortest_edge": 256, "longest_edge": 1024, "height": None},
}


def native(folder, changed):
    (folder / "preprocessor_config.json").write_text(json.dumps(NATIVE | changed))
    return preprocessing_of(folder, (QWEN2_VL,)).native(patch_size=8, merge_size=2, frames=2)


def test_pixels_of_a_native_view(tmp_path):
    """The older names win, as in transformers."""
    plan = native(tmp_path, {})
    assert (plan.cell, plan.min_pixels, plan.max_pixels) == (16, 256, 1024)
    plan = native(tmp_path, {"min_pixels": 512, "max_pixels": 2048})
    assert (plan.min_pixels, plan.max_pixels) == (512, 2048)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temporal_patch_size": 1}, "temporal_patch_size is 1, .*: only 2 goes with the tower"),
        ({"merge_size": 4}, "merge_size is 4, .*: only 2 goes with the tower"),
        ({"size": {"height": 64, "width": 64}}, "expected are numbers of pixels, shortest_edge and longest_edge"),
        ({"size": {"shortest_edge": 9, "longest_edge": 4}}, "min_pixels 9 at least 1 and at most max_pixels 4"),
        ({"max_pixels": "many"}, "size is .*, which cannot be honoured"),
        ({"resample": 2}, "resample is 2, which cannot be honoured: only 3 is known"),
        ({"do_resize": False}, "do_resize is False, .*: only True is known"),
    ],
)
def test_other_native_views_are_refused(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        native(tmp_path, changed)
