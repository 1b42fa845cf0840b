"""What is the same beside a reference, or after saving and quantising, and which weights learn."""

import torch

from foveal.models import IMAGE_TOKEN_ID, Turn, answer, generate, load, save
from foveal.models.language_models.quantize import quantize, recorded_kind
from foveal.models.views.normalise import normalised


@torch.no_grad()
def check_beside(model, reference, pictures, turns, expected, *, placeholder, views=None):
    """The same views, ids, logits and greedy tokens.

    Args:
        expected: what the reference's processor makes of the pictures and turns.
        placeholder: its token for a visual token.
        views: its views in the order of ours; None: as it gives them.
    """
    sample = model.processor.encode_prompt(pictures, turns)
    ids = sample.input_ids[None]
    named = model.processor.tokenizer.convert_tokens_to_ids(placeholder)
    assert ids.masked_fill(ids == IMAGE_TOKEN_ID, named).tolist() == expected["input_ids"].tolist()
    views = expected["pixel_values"] if views is None else views
    for ours, view in zip(normalised(sample.views, model.encoder), views, strict=True):
        torch.testing.assert_close(ours, view, atol=2e-6, rtol=0)
    logits = reference(**expected).logits
    assert logits.std() > 0.1
    torch.testing.assert_close(model(ids, sample.views, sizes=sample.sizes), logits, atol=1e-5, rtol=0)
    tokens = reference.generate(**expected, do_sample=False, max_new_tokens=8, eos_token_id=model.processor.stop_ids)
    batch = model.processor.collate([sample], side="left")
    assert generate(model, batch, max_new_tokens=8) == [model.processor.decode(tokens[0, ids.shape[1] :])]


@torch.no_grad()
def check_saved_and_quantised(folder, target, pictures, question, **options):
    """Saved and opened again, the same; in 4 bits the same, quantised while loading, opened again, or afterwards.

    Args:
        options: of `load`, for the model that is quantised while loading.

    Returns:
        The saved model and the one saved in 4 bits, both opened again.
    """
    model, first = load(folder), load(folder, quantize="nf4-dq", **options)
    batch = model.processor.collate([model.processor.encode_prompt(pictures, [Turn("user", question)])])

    def logits(each):
        return each(batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes, batch.position_ids)

    saved = load(save(model, target / "saved"))
    assert torch.equal(logits(saved), logits(model))
    again = load(save(first, target / "quantised"))
    assert recorded_kind(again.language_model.config) == "nf4-dq"
    assert quantize(model.language_model, "nf4-dq")
    assert torch.equal(logits(first), logits(model))
    assert torch.equal(logits(again), logits(model))
    texts = [answer(each, pictures, question, max_new_tokens=4) for each in (first, again)]
    assert texts[0] == texts[1]
    return saved, again


def not_learnt(model, batch):
    """Names of the weights that the gradient of a batch's loss does not reach."""
    model.loss(batch).total.backward()
    return [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]
