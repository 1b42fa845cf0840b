"""MiniCPM-V 4.6 beside transformers' MiniCPMV4_6ForConditionalGeneration, from folders that transformers wrote."""

import json

import pytest
import torch
from packages.models.tests.heirs.comparisons import not_learnt
from packages.models.tests.heirs.references import noise
from tests.minicpm_folder import VISION, Reference

from foveal.core import describe
from foveal.encoders import minicpm_vit
from foveal.models import IMAGE_TOKEN_ID, Turn, answer_batch, load, save


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return Reference(tmp_path_factory.mktemp("minicpm"))


@pytest.fixture(scope="module")
def model(reference):
    return load(reference.folder)


TWO = [noise(150, 90, 1), noise(60, 50, 2)]


def asked(model, pictures, question):
    return model.processor.encode_prompt(pictures, [Turn("user", "<image>\n" * len(pictures) + question)])


def logits_of(model, *samples, side="left"):
    batch = model.processor.collate(samples, side=side)
    with torch.no_grad():
        return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


def greedy(model, pictures, question, number):
    batch = model.processor.collate([asked(model, pictures, question)], side="left")
    with torch.no_grad():
        ids = model.language_model.generate(
            inputs_embeds=model.embed(batch.input_ids, batch.views, batch.sizes).embeddings,
            attention_mask=batch.attention_mask.long(),
            max_new_tokens=number,
            do_sample=False,
            eos_token_id=model.processor.stop_ids,
            pad_token_id=0,
        )
    return ids[0].tolist()


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def views_of(inputs, patch):
    """The views of a batch of transformers, cut out of its row of patches: [3, height, width] each."""
    rows, start, views = inputs["pixel_values"][0], 0, []
    for down, across in inputs["target_sizes"].tolist():
        patches = rows[..., start : start + down * across * patch].unflatten(2, (down, across, patch))
        views.append(patches.permute(0, 2, 1, 3, 4).reshape(3, down * patch, across * patch))
        start += down * across * patch
    return views


@pytest.mark.parametrize(
    ("pictures", "question"),
    [(TWO, "What is 12?"), (TWO[:1], "\n\nHow é many  \n\n"), ([noise(3, 200)] * 11, "1"), ([], "Hello?")],
    ids=["two", "one", "eleven", "none"],
)
def test_ids_views_and_logits(reference, model, pictures, question):
    theirs, ours = reference.inputs(pictures, question), asked(model, pictures, question)
    ids = ours.input_ids.masked_fill(ours.input_ids == IMAGE_TOKEN_ID, reference.placeholder)
    assert ids.tolist() == theirs["input_ids"][0].tolist()
    if pictures:
        for view, pixels in zip(ours.views, views_of(theirs, 8), strict=True):
            close((view.float() / 255 - 0.5) / 0.5, pixels)
    with torch.no_grad():
        expected = reference.model(**theirs).logits
    close(logits_of(model, ours), expected)


def test_greedy_tokens(reference, model):
    ours = greedy(model, TWO, "What?", 12)
    assert ours == reference.greedy(TWO, "What?", 12)
    assert len(set(ours)) > 3


def test_padding_on_either_side_changes_nothing(model):
    """Linear attention carries a state from left to right, which padding must not change."""
    long, short = asked(model, TWO, "Read all of this, please."), asked(model, TWO[1:], "?")
    alone, length = logits_of(model, short), len(short.input_ids)
    close(logits_of(model, long, short)[1, -length:], alone[0])
    close(logits_of(model, long, short, side="right")[1, :length], alone[0])
    questions = [(TWO, "What?"), (TWO[1:], "Why?"), ([], "How?")]
    assert answer_batch(model, questions, batch_size=3, max_new_tokens=6) == answer_batch(
        model, questions, batch_size=1, max_new_tokens=6
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"tie_word_embeddings": True},
        {"text": {"tie_word_embeddings": True}},
        {"downsample_mode": "4x", "pictures": {"downsample_mode": "4x"}},
        {"insert_layer_id": 2, "pictures": {"slice_mode": False, "use_image_id": False, "image_mean": [0.1, 0.2, 0.3]}},
        {"pictures": {"max_slice_nums": 9, "scale_resolution": 40}},
    ],
    ids=["tied", "tied_text", "4x", "whole", "nine"],
)
def test_settings(tmp_path, changed):
    reference = Reference(tmp_path, **changed)
    model = load(tmp_path)
    inputs, ours = reference.inputs(TWO, "What?"), asked(model, TWO, "What?")
    assert (
        ours.input_ids.tolist()
        == inputs["input_ids"][0]
        .where(inputs["input_ids"][0] != reference.placeholder, torch.tensor(IMAGE_TOKEN_ID))
        .tolist()
    )
    with torch.no_grad():
        close(logits_of(model, ours), reference.model(**inputs).logits)


def test_the_tower_alone(reference, model):
    tower = minicpm_vit(str(reference.folder))
    assert all(torch.equal(weight, model.encoder.state_dict()[name]) for name, weight in tower.state_dict().items())
    assert describe(tower) == describe(model.encoder)


def test_saved_and_loaded_again(model, tmp_path):
    save(model, tmp_path / "ours")
    again = load(tmp_path / "ours")
    close(logits_of(again, asked(again, TWO, "What?")), logits_of(model, asked(model, TWO, "What?")))
    assert greedy(again, TWO, "What?", 6) == greedy(model, TWO, "What?", 6)


@pytest.mark.slow  # bitsandbytes is imported
def test_quantised(reference, tmp_path):
    quantised = load(reference.folder, quantize="nf4-dq")
    save(quantised, tmp_path / "ours")
    again, sample = load(tmp_path / "ours"), asked(quantised, TWO, "What?")
    assert torch.equal(logits_of(again, sample), logits_of(quantised, sample))
    assert greedy(again, TWO, "What?", 6) == greedy(quantised, TWO, "What?", 6)
    decoder = quantised.language_model.get_decoder().layers
    assert {type(module).__name__ for module in decoder.modules() if hasattr(module, "in_features")} == {"Linear4bit"}


def test_gradients_reach_every_part(reference):
    model = load(reference.folder).train()
    talk = [Turn("user", "<image>\n<image>\nWhat?"), Turn("assistant", "Two pictures.")]
    without = not_learnt(model, model.processor.collate([model.processor.encode(TWO, talk)]))
    # Of the table of positions only rows that views use, and keys have no use for a bias.
    assert not [name for name in without if "positions" not in name]


def test_samples_in_packed_rows_are_refused(model):
    sample = model.processor.encode([], [Turn("user", "What?"), Turn("assistant", "That.")])
    batch = model.processor.collate_packed([[sample, sample]], 200)
    with pytest.raises(ValueError, match="samples cannot be packed for Qwen3_5ForCausalLM"):
        model.loss(batch)


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("config.json", "merger_times", 2, "merger_times is 2, only 1"),
        ("config.json", "merge_kernel_size", [4, 4], r"merge_kernel_size is \[4, 4\]"),
        ("config.json", "drop_vision_last_layer", True, "drop_vision_last_layer is True"),
        ("config.json", "insert_layer_id", 3, "insert_layer_id is 3, not one of 3 layers"),
        ("config.json", "downsample_mode", "2x", "downsample_mode is '2x', expected 16x or 4x"),
        ("config.json", "downsample_mode", "4x", "downsample_mode is '16x', which cannot be honoured: only '4x'"),
        ("config.json", "vision_config", VISION | {"window_kernel_size": [4, 4]}, "window_kernel_size"),
        ("config.json", "vision_config", VISION | {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        (
            "config.json",
            "vision_config",
            VISION | {"image_size": [72, 64]},
            r"image_size is \[72, 64\], only one number",
        ),
        ("config.json", "vision_config", None, "no language model .* or tower"),
        ("processor_config.json", "patch_size", 14, "patch_size is 14, which cannot be honoured: only 8"),
        ("processor_config.json", "resample", 2, "resample is 2"),
        ("processor_config.json", "do_resize", False, "do_resize is False"),
        ("processor_config.json", "max_slice_nums", 0, "max_slice_nums is 0.* at least 1"),
        ("processor_config.json", "image_processor_type", "Other", "image_processor_type is 'Other'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(reference, tmp_path, file, key, value, said):
    for source in reference.folder.iterdir():
        (tmp_path / source.name).symlink_to(source)
    settings = json.loads((reference.folder / file).read_text())
    (settings["image_processor"] if file == "processor_config.json" else settings)[key] = value
    (tmp_path / file).unlink()
    (tmp_path / file).write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=said):
        load(tmp_path)
