"""Rows of similar length that a CPU runs together."""

import pytest
import torch

from foveal.models import llama
from foveal.models.language_models import logits as module
from foveal.models.language_models.injection import Embedded, Stack
from foveal.models.language_models.logits import logits_of

LENGTHS = [3, 40, 5, 2, 4, 30, 3, 6, 2, 1, 5]


@pytest.fixture
def batch():
    """A language model, embeddings padded on the right, and their mask."""
    torch.manual_seed(0)
    model = llama(11, width=16, depth=2, heads=2, mlp_width=16, context=64)
    embeddings = torch.randn(len(LENGTHS), max(LENGTHS), 16, requires_grad=True)
    return model, embeddings, torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


@pytest.mark.parametrize("columns", [None, [1, 2, 10, 35], [39], [35, 1]])
def test_as_all_rows_at_once(batch, columns, monkeypatch):
    model, embeddings, mask = batch
    columns = None if columns is None else torch.tensor(columns)
    seen = mask if columns is None else mask[:, columns]
    found = []
    for waste in (module.WASTE, 1.0):
        monkeypatch.setattr(module, "WASTE", waste)
        calls = []
        handle = model.register_forward_pre_hook(
            lambda _, args, kwargs, calls=calls: calls.append(kwargs["inputs_embeds"].shape[:2]), with_kwargs=True
        )
        logits = logits_of(model, Embedded(embeddings, ()), mask, columns, None)
        handle.remove()
        assert logits.shape[:2] == seen.shape
        (gradient,) = torch.autograd.grad(logits[seen].pow(2).sum(), embeddings)
        found.append((logits[seen], gradient))
        assert calls == ([(8, 40), (3, 2)] if waste < 1 else [(11, 40)])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def test_what_is_run_at_once(batch, monkeypatch):
    model, embeddings, mask = batch
    monkeypatch.setattr(module, "_by_length", lambda *_: pytest.fail("split"))
    few = [each[: module.ROWS] for each in (embeddings, mask)]
    gap = mask.clone()
    gap[3] = torch.tensor([True, False, False, True] + [False] * 36)
    for real in (mask.flip(1), gap, torch.ones_like(mask), None):
        assert torch.isfinite(logits_of(model, Embedded(embeddings, ()), real, None, None)).any()
    logits_of(model, Embedded(few[0], ()), few[1], None, None)
    logits_of(model, Embedded(embeddings, ()), mask, None, torch.arange(mask.shape[1]).expand(len(mask), -1))
    stack = Stack(1, torch.tensor([9]), torch.tensor([0]), torch.ones(1, 16))
    logits_of(model, Embedded(embeddings, (stack,)), mask, None, None)
    with monkeypatch.context() as growing:
        growing.setattr(model.config, "rope_parameters", {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
        logits_of(model, Embedded(embeddings, ()), mask, None, None)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    logits_of(model, Embedded(embeddings, ()), mask, None, None)
