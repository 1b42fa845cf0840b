"""Positions on a grid: counted as transformers counts them, the same in padded, packed and generated sequences."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from transformers import AutoConfig

from foveal.connectors import Parallel, PixelShuffle
from foveal.core import Grid, Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    LevelsMerge,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    generate,
    llama,
)
from foveal.models.generation import cuda_graphs
from foveal.models.generation import generate as generation
from foveal.models.language_models.causal import causal_class
from foveal.models.prompts.positions import grid_positions

PICTURES = st.tuples(st.integers(1, 6), st.integers(1, 6)).map(Grid.of)
SAMPLES = st.lists(st.one_of(st.integers(1, 9), PICTURES), min_size=1, max_size=8).filter(
    lambda parts: not any(isinstance(one, Grid) and isinstance(two, Grid) for one, two in pairwise(parts))
)


@settings(max_examples=60, deadline=None)
@given(parts=SAMPLES)
def test_positions_are_those_of_the_reference(parts):
    """Which needs text between pictures."""
    from transformers import Qwen3VLModel

    grids = [part for part in parts if isinstance(part, Grid)]
    ids = [
        token
        for part in parts
        for token in ([IMAGE_TOKEN_ID] * part.cells if isinstance(part, Grid) else range(5, 5 + part))
    ]
    settings = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2))
    theirs = SimpleNamespace(config=settings)
    theirs.get_vision_position_ids = partial(Qwen3VLModel.get_vision_position_ids, theirs)
    expected, _ = Qwen3VLModel.get_rope_index(
        theirs,
        torch.tensor([ids]),
        (torch.tensor([ids]) == IMAGE_TOKEN_ID).int(),
        image_grid_thw=torch.tensor([[1, 2 * grid.rows, 2 * grid.columns] for grid in grids] or [[1, 2, 2]]),
    )
    assert torch.equal(grid_positions(ids, [*grids, Grid(9, 9)]), expected[:, 0])


def test_pictures_side_by_side():
    ids = [7, *[IMAGE_TOKEN_ID] * 6, *[IMAGE_TOKEN_ID] * 2, 8]
    time, row, column = grid_positions(ids, [Grid(2, 3), Grid(1, 2)]).tolist()
    assert time == [0, 1, 1, 1, 1, 1, 1, 4, 4, 6]
    assert row == [0, 1, 1, 1, 2, 2, 2, 4, 4, 6]
    assert column == [0, 1, 2, 3, 1, 2, 3, 4, 5, 6]


class Wide(PadToSquare):
    """Two thirds of the square, so that rows and columns differ."""

    def views(self, picture):
        return (Size(self.size, self.size * 2 // 3),)

    def cut(self, image):
        return [image.resize(self.views(Size.of(image.size))[0])]


def held():
    return causal_class(CONFIG).from_config(CONFIG)


CONFIG = AutoConfig.for_model(
    "qwen3_vl_text",
    vocab_size=260,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    max_position_embeddings=400,
    rope_parameters={"rope_type": "default", "rope_theta": 100.0, "mrope_section": [4, 2, 2]},
    tie_word_embeddings=False,
)


def build(language_model=held):
    torch.manual_seed(0)
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 4, 24, layers=(-1, 1)),
        partial(Parallel, branches=[PixelShuffle] * 2, join="levels"),
        language_model(),
        byte_tokenizer(),
        Wide(24),
        merge=partial(LevelsMerge, levels=2),
        system="",
        max_length=300,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.double().eval()


def picture(seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8))


CONVERSATIONS = [
    ([picture()], "<image>\nWhat is it?", "A wide one"),
    ([], "Hello?", "Who is there?"),
    ([picture(1), picture(2)], "<image> or <image>?", "Both"),
]


def samples_of(model):
    return [
        model.processor.encode(shown, [Turn("user", asked), Turn("assistant", said)], key=said)
        for shown, asked, said in CONVERSATIONS
    ]


def test_the_processor_gives_positions_to_models_that_take_them():
    sample = samples_of(build())[0]
    first = sample.input_ids.tolist().index(IMAGE_TOKEN_ID)
    own = sample.position_ids[:, first : first + 6] - first
    assert own.tolist() == [[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    assert sample.position_ids[:, first + 6].tolist() == [first + 3] * 3
    assert all(sample.position_ids is None for sample in samples_of(build(partial(llama, 260, **LLAMA))))


LLAMA = {"width": 32, "depth": 4, "heads": 2, "mlp_width": 48, "context": 400}


@torch.no_grad()
def test_padding_and_packing_change_nothing():
    model = build()
    samples = samples_of(model)
    alone = [
        model(each.input_ids[None], each.views, None, None, each.sizes, each.position_ids[:, None]) for each in samples
    ]
    counted = [model(each.input_ids[None], each.views, sizes=each.sizes) for each in samples]
    assert (alone[0] - counted[0]).abs().max() > 1e-3
    torch.testing.assert_close(alone[1], counted[1])
    for side in ("right", "left"):
        batch = model.processor.collate(samples, side=side)
        together = model(batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes, batch.position_ids)
        for row, mask, expected in zip(together, batch.attention_mask, alone, strict=True):
            torch.testing.assert_close(row[mask], expected[0])
        assert torch.equal(
            batch.within[batch.attention_mask], torch.cat([torch.arange(len(each[0])) for each in alone])
        )
    packed = model.processor.collate_packed([samples[:2], samples[2:]], 120)
    assert packed.position_ids.shape == (4, 2, 120)
    rows = model(packed.input_ids, packed.views, packed.attention_mask, None, packed.sizes, packed.position_ids)
    torch.testing.assert_close(rows[packed.attention_mask], torch.cat([each[0] for each in alone]))
    assert torch.equal(packed.within, packed.position_ids[0])
    losses = [model.loss(each) for each in (model.processor.collate(samples), packed)]
    torch.testing.assert_close(losses[0].total, losses[1].total)


def asked(model):
    return [model.processor.encode_prompt(shown, [Turn("user", question)]) for shown, question, _ in CONVERSATIONS]


@torch.no_grad()
def test_generated_tokens_go_on_after_the_last_row_or_column():
    """Cached steps equal whole sequences, alone and in a batch."""
    model = build()
    prompts = asked(model)
    expected = []
    for prompt in prompts:
        ids = prompt.input_ids
        for _ in range(8):
            grids = [model.processor.grid(size) for size in prompt.sizes]
            positions = grid_positions(ids.tolist(), grids)[:, None]
            logits = model(ids[None], prompt.views, None, None, prompt.sizes, positions)
            ids = torch.cat([ids, logits[0, -1].argmax()[None]])
        expected.append(model.processor.decode(ids[len(prompt.input_ids) :]))
    assert generate(model, model.processor.collate(prompts, side="left"), max_new_tokens=8) == expected
    assert answer(model, picture(), "What is it?", max_new_tokens=8) == expected[0]


def test_beams_and_captured_steps(monkeypatch):
    model = build()
    batch = model.processor.collate(asked(model), side="left")
    monkeypatch.setattr(generation, "graphs_obstacle", lambda *_: None)
    monkeypatch.setattr(cuda_graphs.Steps.__init__, "__kwdefaults__", {"capture": lambda step: step})
    assert generate(model, batch, max_new_tokens=8, cuda_graphs=True) == generate(model, batch, max_new_tokens=8)
    beams = generate(model, batch, max_new_tokens=6, num_beams=3)
    alone = [
        generate(model, model.processor.collate([each], side="left"), max_new_tokens=6, num_beams=3)[0]
        for each in asked(model)
    ]
    assert beams == alone


def test_a_prompt_that_ends_with_a_picture_is_refused():
    model = build()
    model.processor.template = "plain"
    sample = model.processor.encode_prompt([picture()], [Turn("user", "<image>")])
    with pytest.raises(ValueError, match="must be one prompt that ends with text"):
        generate(model, model.processor.collate([sample], side="left"))
