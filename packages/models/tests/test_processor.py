"""Pictures and conversations become tensors."""

import logging
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from foveal.connectors import MlpProjector, PerceiverResampler
from foveal.core import Grid, Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    PadToSquare,
    Processor,
    Turn,
    UhdPlan,
    byte_tokenizer,
)
from foveal.models.prompts.token_count import TokenCount
from foveal.models.prompts.tokenize import expanded

QUESTION = Turn("user", "<image>\nWhat?")
ANSWER = Turn("assistant", "A cat.")


def encoder():
    return VisionTransformer(16, 2, 2, 16, 14, 56)


def processor(plan=None, **options):
    plan = plan or UhdPlan(56, 14, 6)
    count = TokenCount(encoder(), PerceiverResampler(16, 16, queries=4, heads=2), plan)
    return Processor(byte_tokenizer(), plan, count=count, system="", **options)


def picture(width=131, height=97):
    return Image.new("RGB", (width, height), "white")


def test_uhd_layout():
    ours = processor()
    sample = ours.encode([picture()], [QUESTION, ANSWER], key="a")
    text = ours.tokenizer.decode(
        [token for token in sample.input_ids if token != IMAGE_TOKEN_ID], skip_special_tokens=True
    )
    assert text == "USER: ,,\n,,\n\nWhat? ASSISTANT: A cat."
    assert (sample.input_ids == IMAGE_TOKEN_ID).sum() == 7 * 4
    assert [tuple(view.shape) for view in sample.views] == [(3, 56, 42)] * 6 + [(3, 42, 56)]
    assert all(view.dtype == torch.uint8 for view in sample.views)
    learnt = sample.labels != IGNORE_INDEX
    assert ours.decode(sample.input_ids[learnt]) == "A cat."
    assert sample.key == "a"


SIZES = {
    None: Size(300, 300),
    (3, 2): Size(1008, 672),
    (2, 2): Size(640, 480),
    (1, 2): Size(300, 600),
    (2, 1): Size(600, 300),
}
"""Pictures that are cut into so many (columns, rows)."""


def with_llama_s_separators():
    """A tokenizer that knows only commas and newlines, with their ids in LLaMA's vocabulary."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "\n": 13, ",": 29892}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[,\n]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>", eos_token="<unk>")


def test_uhd_sequences_of_the_reference(golden):
    """The plan's layout with LLaMA's separator ids, against the reference, whose text ids are kept."""
    tokenizer, plan = with_llama_s_separators(), UhdPlan()
    compared = 0
    for case in golden("uhd/layout").meta["cases"]:
        if case["max_length"] is not None:  # the reference truncates; here it is refused
            continue
        for ids, labels, grids, output, output_labels in zip(
            case["input_ids"], case["labels"], case["grids"], case["output"], case["output_labels"], strict=True
        ):

            def count(size, queries=case["queries_per_view"]):
                return [queries if isinstance(item, int) else item for item in plan.layout(size)]

            expander = Processor(tokenizer, plan, count=count)
            asked = [tuple(grid) if grid else None for grid in grids[: ids.count(IMAGE_TOKEN_ID)]]
            assert [plan.grid(SIZES[grid]) for grid in asked] == [grid and Grid(grid[1], grid[0]) for grid in asked]
            ours = expanded(ids, labels, [expander.picture_ids(SIZES[grid]) for grid in asked])
            real = [(item, label) for item, label in zip(output, output_labels, strict=True) if item != "pad"]
            expected = [(IMAGE_TOKEN_ID if isinstance(item, str) else item, label) for item, label in real]
            assert list(zip(*ours, strict=True)) == expected
            compared += 1
    assert compared > 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.builds(Size, st.integers(1, 300), st.integers(1, 300)), max_size=2), st.text(max_size=20))
def test_length_needs_no_pixels(sizes, text):
    ours = processor()
    asked = Turn("user", "<image>" * len(sizes) + text.replace("<image>", ""))
    turns = [asked, ANSWER]
    sample = ours.encode([picture(*size) for size in sizes], turns)
    assert ours.length(sizes, turns) == len(sample.input_ids) == len(sample.labels)
    runs = [item for size in sizes for item in ours.count(size) if isinstance(item, int)]
    assert len(runs) == len(sample.views)
    assert sum(runs) == (sample.input_ids == IMAGE_TOKEN_ID).sum()
    assert sample.sizes == tuple(sizes)


def test_a_prompt_is_the_beginning_of_what_is_learnt():
    ours = processor()
    whole = ours.encode([picture()], [QUESTION, ANSWER])
    prompt = ours.encode_prompt([picture()], [QUESTION])
    assert torch.equal(whole.input_ids[: len(prompt.input_ids)], prompt.input_ids)
    assert (prompt.labels == IGNORE_INDEX).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side):
    ours = processor()
    samples = [
        ours.encode([picture(40, 40)], [QUESTION, ANSWER], key="a"),
        ours.encode([], [Turn("user", "Q"), ANSWER], key="b"),
    ]
    batch = ours.collate(samples, side=side)
    for row, sample in enumerate(samples):
        assert torch.equal(batch.input_ids[row][batch.attention_mask[row]], sample.input_ids)
        assert torch.equal(batch.labels[row][batch.attention_mask[row]], sample.labels)
        assert (batch.input_ids[row][~batch.attention_mask[row]] == ours.tokenizer.pad_token_id).all()
    assert bool(batch.attention_mask[1, 0]) == (side == "right")
    assert batch.keys == ("a", "b")
    assert batch.to("cpu").keys == batch.keys


def test_too_long_is_an_error_with_numbers():
    with pytest.raises(ValueError, match=r"page 7: the sample has 66 tokens \(28 of them visual\), the limit is 64"):
        processor(max_length=64).encode([picture()], [QUESTION, ANSWER], key="page 7")


def test_whole_exchanges_are_left_out_and_logged(caplog):
    turns = [QUESTION, ANSWER, Turn("user", "And?"), Turn("assistant", "x" * 50)]
    ours = processor(max_length=70, overlong="drop_turns")
    with caplog.at_level(logging.WARNING):
        sample = ours.encode([picture()], turns, key="page 7")
    assert torch.equal(sample.input_ids, processor().encode([picture()], turns[:2]).input_ids)
    assert "page 7: left out the last 2 of 4 turns" in caplog.text
    with pytest.raises(ValueError, match="the limit is 20"):
        processor(max_length=20, overlong="drop_turns").encode([picture()], turns)


def test_errors_name_the_sample():
    with pytest.raises(ValueError, match="page 7: 1 <image> in the text, 2 pictures"):
        processor().encode([picture(), picture()], [QUESTION, ANSWER], key="page 7")
    with pytest.raises(ValueError, match="page 7: a view of 15x15 pixels cannot be cut"):
        processor(PadToSquare(15)).encode([picture()], [QUESTION, ANSWER], key="page 7")
    for mode in ("L", "RGBA", "P", "CMYK"):
        with pytest.raises(ValueError, match=f"page 7: a picture has mode {mode}, expected RGB"):
            processor().encode([picture().convert(mode)], [QUESTION, ANSWER], key="page 7")
    with pytest.raises(ValueError, match="max_length 0 must be at least 1"):
        processor(max_length=0)
    with pytest.raises(ValueError, match="overlong 'cut' raise or drop_turns"):
        processor(overlong="cut")
    with pytest.raises(ValueError, match="the system text holds <image>"):
        Processor(byte_tokenizer(), PadToSquare(), count=lambda *_: [1], system="<image>")
    with pytest.raises(ValueError, match="at least one sample"):
        processor().collate([])


def test_a_tokenizer_that_ends_every_text_is_refused():
    ours = processor()
    ours.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    with pytest.raises(ValueError, match=r"adds \['<s>', '</s>'\] to a text"):
        Processor(ours.tokenizer, ours.plan, count=ours.count)


def test_views_hold_the_picture_the_right_way_round():
    image = Image.new("RGB", (40, 28))
    image.putpixel((30, 5), (1, 2, 3))
    (view,) = processor().encode([image], [QUESTION, ANSWER]).views
    (cut,) = UhdPlan(56, 14, 6).cut(image)
    assert view.permute(1, 2, 0).tolist() == np.array(cut).tolist()


def test_it_holds_no_weights():
    count = TokenCount(encoder(), MlpProjector(16, 4096), UhdPlan(56, 14, 6))
    assert count(Size(56, 56)) == [16]
    assert len(pickle.dumps(count)) < 30_000


def encode_elsewhere(pickled):
    return pickle.loads(pickled).encode([picture()], [QUESTION, ANSWER]).input_ids.tolist()


@pytest.mark.slow
def test_spawned_workers_can_use_it():
    ours = processor()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(encode_elsewhere, (pickle.dumps(ours),))
    assert there == ours.encode([picture()], [QUESTION, ANSWER]).input_ids.tolist()


def test_stop_ids():
    ours = processor()
    assert ours.stop_ids == [ours.tokenizer.eos_token_id]
    ours.tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|im_start|>"]})
    chat = Processor(ours.tokenizer, ours.plan, count=ours.count, template="chatml")
    assert chat.stop_ids == [ours.tokenizer.eos_token_id, 260]


def test_a_template_whose_end_the_tokenizer_does_not_know():
    for template in ("chatml", "phi3", "vary"):
        with pytest.raises(ValueError, match=f"the template {template} ends an answer with"):
            processor(template=template)


@pytest.mark.parametrize("turn", [Turn("user", "<image>\nWhat\ud800?"), Turn("assistant", "\udfff")])
def test_half_a_character_is_refused(turn):
    turns = [turn, ANSWER] if turn.role == "user" else [QUESTION, turn]
    with pytest.raises(ValueError, match="the text has half a character"):
        processor().encode([picture()], turns)
