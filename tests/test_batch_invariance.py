"""Every shipped method gives the same numbers for a sample alone and in any batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from PIL import Image
from torch import nn

from foveal.models import Turn, VisionLanguageModel
from recipes.command_line.configurations import merged, shipped_methods


def network(method):
    """The model as the recipes build it, in double precision, with all weights random, so that none hides an error."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--network", type=VisionLanguageModel)
    settings = {"network": merged(f"{method}.yaml")["model"]["network"]}
    model = parser.instantiate(parser.parse_args(["--config", yaml.safe_dump(settings)])).network.double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad and weight.ndim > 1:
                nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))
            elif weight.requires_grad:
                weight += 0.3 * torch.randn_like(weight)
    return model


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def samples(model):
    """Wide, tall and small pictures, text only, several pictures in a row; with texts of different lengths."""
    wide, tall, small = picture(190, 70, 1), picture(50, 220, 2), picture(20, 30, 3)
    conversations = [
        ([wide], "<image>\nWhat is written here?", "A word."),
        ([], "Hello?", "Yes, who is there?"),
        ([tall, small], "<image> and <image>: which of them?", "Both"),
        ([small], "<image>\nWhat?", "Tea"),
        ([], "Bye", "See you."),
    ]
    return [
        model.processor.encode(pictures, [Turn("user", question), Turn("assistant", answer)])
        for pictures, question, answer in conversations
    ]


def close(ours, reference, atol=1e-10):
    torch.testing.assert_close(ours, reference, atol=atol, rtol=0)


def logits_of(model, batch):
    return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


@pytest.fixture(scope="module", params=shipped_methods())
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(request.param)


@pytest.fixture(scope="module")
def each(model):
    return samples(model)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_a_batch_are_those_of_its_samples(model, each, side):
    alone = [logits_of(model, model.processor.collate([sample]))[0] for sample in each]
    last = len(each) - 1
    batches = [range(len(each)), range(last, -1, -1), [last, 0, last], [1, 0]]
    for rows in batches:
        batch = model.processor.collate([each[row] for row in rows], side=side)
        for logits, mask, row in zip(logits_of(model, batch), batch.attention_mask, rows, strict=True):
            close(logits[mask], alone[row])


@torch.no_grad()
def test_a_row_sees_its_own_pictures_only(model, each):
    batch = model.processor.collate(each)
    before = logits_of(model, batch)
    start = 0
    for row, sample in enumerate(each):
        own = range(start, start + len(sample.views))
        start = own.stop
        views = tuple(255 - view if number in own else view for number, view in enumerate(batch.views))
        after = logits_of(model, replace(batch, views=views))
        for other, mask in enumerate(batch.attention_mask):
            if other == row and sample.views:
                assert (after[other][mask] - before[other][mask]).abs().max() > 0.1
            else:
                close(after[other][mask], before[other][mask])


def test_loss_and_gradients_of_a_batch_are_sums(model, each):
    learnt = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

    def step(batch):
        model.zero_grad()
        loss = model.loss(batch)
        loss.total.backward()
        # Text-only samples reach neither encoder nor connector.
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
            for name, weight in learnt.items()
        }
        return loss.total.item(), loss.tokens, gradients

    total, tokens, gradients = step(model.processor.collate(each))
    alone = [step(model.processor.collate([sample])) for sample in each]
    assert tokens == sum(part[1] for part in alone)
    assert total == pytest.approx(sum(part[0] for part in alone), rel=1e-6)
    for name, gradient in gradients.items():
        parts = torch.stack([part[2][name] for part in alone])
        # The cross-entropy is computed in single precision.
        close(gradient, parts.sum(dim=0), atol=1e-10 + 1e-6 * parts.abs().sum(dim=0).max().item())
