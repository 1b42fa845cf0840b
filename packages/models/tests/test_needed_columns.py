"""The last layer's MLP at some positions: the same logits and gradients, and nothing computed elsewhere."""

import pytest
import torch

from foveal.models import llama, opt, qwen3
from foveal.models.language_models.needed_columns import last_mlp_at

COLUMNS = torch.tensor([2, 3, 6])


def decoder(build, **sizes):
    torch.manual_seed(0)
    return build(40, width=16, depth=2, heads=2, mlp_width=24, **sizes).train()


def learnt(model, *, needed):
    """Logits of `COLUMNS`, the gradients of their loss, and the positions that the last MLP saw."""
    torch.manual_seed(1)
    seen = []
    mlp = getattr(model.get_decoder().layers[-1], "mlp", None)
    # After the hooks under test, on a part of the MLP.
    watch = mlp and mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    embedded = torch.randn(2, 8, 16, requires_grad=True)
    with last_mlp_at(model, COLUMNS if needed else None):
        logits = model(inputs_embeds=embedded, use_cache=False, logits_to_keep=COLUMNS).logits
    logits.square().sum().backward()
    if watch:
        watch.remove()
    gradients = [embedded.grad, *(weight.grad for weight in model.parameters() if weight.grad is not None)]
    model.zero_grad(set_to_none=True)
    return logits, gradients, seen


@pytest.mark.parametrize("build", [llama, qwen3])
def test_logits_and_gradients_are_the_same(build):
    model = decoder(build)
    (logits, gradients, seen), (whole, all_gradients, seen_whole) = (learnt(model, needed=each) for each in (1, 0))
    assert (seen, seen_whole) == ([3], [8])
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-6)
    for one, other in zip(gradients, all_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_recomputed_layer_is_left_alone():
    model = decoder(llama)
    model.activation_checkpointing_enable()
    logits, gradients, seen = learnt(model, needed=True)
    assert seen == [8, 8]
    model.activation_checkpointing_disable()
    whole, all_gradients, _ = learnt(model, needed=False)
    assert torch.equal(logits, whole)
    assert all(torch.equal(one, other) for one, other in zip(gradients, all_gradients, strict=True))


def test_a_decoder_without_a_module_of_that_name_is_left_alone():
    model = decoder(opt)
    logits, _, seen = learnt(model, needed=True)
    assert torch.equal(logits, learnt(model, needed=False)[0])
    assert seen == []


def test_no_hook_is_left():
    model = decoder(llama)
    with pytest.raises(IndexError), last_mlp_at(model, COLUMNS):
        raise IndexError
    mlp = model.model.layers[-1].mlp
    assert not mlp._forward_hooks
    assert not mlp._forward_pre_hooks
