"""One pass of a model over a question and its answer, with all that relevance needs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foveal.connectors.relevance import RecordedAttention, TracedCall, contribution, traced
from foveal.models.evaluation_mode import evaluation_mode
from foveal.models.language_models.injection import decoder_layers, injected
from foveal.models.language_models.packed_rows import attended
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.batch import Sample
from foveal.models.relevance.room import attention_bytes, check_room


@dataclass(frozen=True)
class Gradients:
    """What a score says about the model's attention and features.

    Attributes:
        language: contributions in every decoder layer, [tokens, tokens] each.
        connector: contributions in the attention calls of every call of the connector, [views * sequences, queries,
            keys] each.
        maps: gradients of the maps of every call.
    """

    language: tuple[Tensor, ...]
    connector: tuple[tuple[Tensor, ...], ...]
    maps: tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class RecordedAnswer:
    """A question and its answer, read once by the model.

    Attributes:
        sample: the two as tokens.
        calls: the calls of the connector.
        attention: probabilities of every decoder layer, [1, heads, tokens, tokens] each.
        logits: of the next token, [tokens, vocabulary].
    """

    sample: Sample
    calls: tuple[TracedCall, ...]
    attention: tuple[Tensor, ...]
    logits: Tensor

    def gradients(self, places: Sequence[int]) -> Gradients:
        """What the sum of the logits of the tokens at these positions says."""
        ids = self.sample.input_ids.to(self.logits.device)[list(places)]
        score = self.logits[[place - 1 for place in places], ids].sum()
        inner = [each for call in self.calls for each in call.probabilities]
        features = [each for call in self.calls for each in call.maps]
        wanted = [*self.attention, *inner, *features]
        # Views that a merge leaves out are not used.
        found = iter(torch.autograd.grad(score, wanted, retain_graph=True, allow_unused=True, materialize_grads=True))
        language = tuple(contribution(each.detach(), next(found))[0] for each in self.attention)
        connector = tuple(
            tuple(contribution(each.detach(), next(found)) for each in call.probabilities) for call in self.calls
        )
        return Gradients(language, connector, tuple(tuple(next(found) for _ in call.maps) for call in self.calls))


def recorded_answer(model: VisionLanguageModel, sample: Sample) -> RecordedAnswer:
    """Read a question and its answer.

    Args:
        model: in a context `at_rest`.
        sample: from `Processor.encode`, with pictures.

    Raises:
        ValueError: if the language model's attention cannot be recorded, or does not fit into memory.
    """
    language_model, batch = model.language_model, model.processor.collate([sample]).to(model.device)
    check_room(attention_bytes(language_model, len(sample.input_ids)), model.device)
    with traced(model.connector) as calls:
        embedded = model.embed(batch.input_ids, batch.views, batch.sizes)
    mask, positions = attended(language_model, embedded.embeddings, batch.attention_mask, batch.position_ids)
    with injected(language_model, embedded.stacks, 1), RecordedAttention() as recorded:
        logits = language_model(
            inputs_embeds=embedded.embeddings, attention_mask=mask, position_ids=positions, use_cache=False
        ).logits
    tokens, depth = len(sample.input_ids), len(decoder_layers(language_model))
    shapes = [tuple(each.shape[-2:]) for each in recorded.probabilities]
    if shapes != [(tokens, tokens)] * depth:
        raise ValueError(
            f"{type(language_model).__name__} cannot be explained: of its {depth} layers, {len(shapes)} show their "
            "attention to all tokens"
        )
    return RecordedAnswer(sample, tuple(calls), tuple(recorded.probabilities), logits[0])


@contextmanager
def at_rest(model: VisionLanguageModel) -> Iterator[None]:
    """Context in which a model is in evaluation mode, its weights need no gradients, and its language model computes
    attention with torch's function, which can be recorded; afterwards everything is as before.

    Raises:
        ValueError: if the language model cannot change its attention.
    """
    language_model: Any = model.language_model
    needing = [weight for weight in model.parameters() if weight.requires_grad]
    attention = language_model.config._attn_implementation
    try:
        for weight in needing:
            weight.requires_grad_(False)
        language_model.set_attn_implementation("sdpa")
        with evaluation_mode(model):
            yield
    finally:
        language_model.set_attn_implementation(attention)
        for weight in needing:
            weight.requires_grad_()
