"""Questions about pictures, in the forms in which people have them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import (
    BadImageError,
    UhdPlan,
    VisionLanguageModel,
    answer,
    answer_batch,
    byte_tokenizer,
    llama,
    stream,
)


def model_of():
    torch.manual_seed(5)
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        lambda i, o: PerceiverResampler(i, o, queries=4, heads=2),
        llama(260, width=32, depth=2, heads=2, mlp_width=48, context=500),
        byte_tokenizer(),
        UhdPlan(28, 7, 4),
        system="",
        max_length=400,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_a_single_picture_needs_no_list(tmp_path):
    model, expected = model_of(), None
    picture().save(tmp_path / "a.png")
    for given in ([picture()], picture(), tmp_path / "a.png", (str(tmp_path / "a.png"),), np.asarray(picture())):
        text = answer(model, given, "What?", max_new_tokens=6)
        assert text == (expected := expected or text)


def test_a_batch_answers_as_one_by_one():
    model = model_of()
    questions = [(picture(60, 40), "What?"), ([], "And this, without a picture?"), ([picture(), picture(20, 90)], "?")]
    alone = [answer(model, pictures, text, max_new_tokens=8) for pictures, text in questions]
    for size in (1, 2, 8):
        assert answer_batch(model, questions, batch_size=size, max_new_tokens=8) == alone
    assert answer_batch(model, []) == []
    with pytest.raises(ValueError, match="batch_size is 0"):
        answer_batch(model, questions, batch_size=0)


def test_a_stream_is_the_answer_piece_by_piece():
    model = model_of()
    pieces = list(stream(model, picture(), "What?", max_new_tokens=12))
    assert "".join(pieces).rstrip() == answer(model, picture(), "What?", max_new_tokens=12)


def test_a_stream_ends_when_nobody_reads_it():
    model, steps = model_of(), []
    model.language_model.register_forward_hook(lambda *_: steps.append(1))
    torch.manual_seed(0)
    pieces = stream(model, picture(), "What?", max_new_tokens=400, temperature=5.0)
    next(pieces)
    pieces.close()
    assert len(steps) < 400
    assert not model.training


def test_errors_of_a_stream_are_raised_where_it_is_read():
    with pytest.raises(BadImageError, match="there is no such file"):
        list(stream(model_of(), "nowhere.png", "What?"))
    with pytest.raises(ValueError, match="max_new_tokens"):
        next(stream(model_of(), Image.new("L", (9, 9)), "What?", max_new_tokens=0))
