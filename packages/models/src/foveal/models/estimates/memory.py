"""Memory that a model needs at its fullest moment, before it has weights.

The model's own code runs on tensors without numbers, and the bytes of those that are alive are counted. What the CPU's
kernels keep for the backward pass is close to what a GPU's do: attention without its table of weights. What a library
takes inside of an operation is not seen, as the workspace of a large convolution.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from foveal.models.estimates.alive import Alive
from foveal.models.estimates.cost import Size, copied, pretended, prompt_tokens, views_of
from foveal.models.estimates.few_layers import UnequalLayersError, few_layers
from foveal.models.language_models.injection import decoder_layers
from foveal.models.model import VisionLanguageModel

T = TypeVar("T")


@dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: as they are stored; of a sharded model this rank's, and the layers that are gathered at a time.
        cache: keys and values of the whole prompt and the answer.
        gradients: of what is trained.
        optimizer: its states.
        activations: all that lives for a while at the fullest moment, with copies of weights in another precision and
            the temporary tensors of the optimizer's step.
    """

    weights: int
    cache: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it, without what the driver and the libraries keep for themselves."""
        return self.weights + self.cache + self.gradients + self.optimizer + self.activations


def answering(
    model: VisionLanguageModel, pictures: Sequence[Size], *, text: int, new_tokens: int = 0, batch: int = 1
) -> Memory:
    """To read prompts and answer them, one batch at a time.

    Args:
        model: on the meta device, in the kinds of number in which it will run; it stays as it is.
        pictures: (width, height) in pixels of those of every prompt.
        text: tokens of every prompt beside its pictures.
        new_tokens: of every answer.
        batch: prompts.

    Raises:
        ValueError: if the model cannot take such pictures.
    """
    weights = Alive((*model.parameters(), *model.buffers())).now
    beside, cached, tokens = _with_few_layers(model, lambda left_out: _read(model, pictures, text, batch, left_out))
    return Memory(weights, cached + cached * new_tokens // tokens, 0, 0, beside - cached)


def _with_few_layers(model: VisionLanguageModel, run: Callable[[int], T]) -> T:
    """What `run` gives of `model` with the layers that are needed, told how many are left out."""
    try:
        with few_layers(model) as left_out:
            return run(left_out)
    except UnequalLayersError:
        return run(0)


def _read(
    model: VisionLanguageModel, pictures: Sequence[Size], text: int, batch: int, left_out: int
) -> tuple[int, int, int]:
    """The most bytes beside weights at any moment of a prefill, those of its cache, and its tokens."""
    with pretended(model) as copy, torch.no_grad(), Alive((*copy.parameters(), *copy.buffers())) as alive:
        copy.eval()
        before, layers = alive.now, decoder_layers(copy.language_model)
        with alive.phases.of(layers):
            embedded, _stacks = _embedded(copy, pictures, text, batch)
            output = copy.language_model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1)
        kept = [layer for layer in output.past_key_values.layers if layer.is_initialized]
        cached = sum(_bytes((layer.keys, layer.values)) for layer in kept)
        cached += cached // len(layers) * left_out
        return alive.phases.peak(left_out) - before, cached, embedded.shape[1]


def fitting(
    model: VisionLanguageModel,
    pictures: Sequence[Size],
    *,
    text: int,
    batch: int = 1,
    mixed: torch.dtype | None = None,
    accumulated: bool = False,
    muon: Collection[str] = (),
    ranks: int = 1,
) -> Memory:
    """To train what of `model` learns, on batches of equal samples.

    The states of AdamW are two tensors for each weight, of Muon one, in the weight's kind of number. A sharded model is
    as FSDP2 has it: encoder and language model are divided, connector and merge are on every rank; a decoder layer and
    the next are gathered at a time, the tables and the last norm all the time.

    Args:
        model: on the meta device, in the kinds of number of its stored weights; it stays as it is.
        pictures: (width, height) in pixels of those of every sample.
        text: tokens of every sample beside its pictures; all are learnt.
        batch: samples on one device.
        mixed: kind of number to compute in; None: that of the weights.
        accumulated: whether gradients of several batches are added up; otherwise those of the last step are there in
            the forward pass, and go before the backward pass.
        muon: names of the weights that Muon trains; AdamW has all others.
        ranks: devices among which the model is divided.

    Raises:
        ValueError: if the model cannot take such pictures, or nothing in it learns.
    """
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    if not learning:
        raise ValueError("nothing in the model learns: there is no training to estimate")
    everywhere = {
        id(weight) for part in (model.connector, model.merge) if part is not None for weight in part.parameters()
    }

    def share(weights: Iterable[Tensor]) -> int:
        """Bytes of this rank."""
        return sum(_bytes([each]) if id(each) in everywhere else -(-_bytes([each]) // ranks) for each in weights)

    of_muon = {id(weight) for name, weight in model.named_parameters() if name in muon}
    by_adamw = share(weight for weight in learning if id(weight) not in of_muon)
    by_muon = share(weight for weight in learning if id(weight) in of_muon)
    weights, gathered = share((*model.parameters(), *model.buffers())), 0
    run, autocast = model, mixed
    if ranks > 1:
        # What is gathered is gathered in the kind of number to compute in, so that there is nothing left to cast.
        run, autocast = copied(model).to(mixed) if mixed is not None else model, None
        layers = [_bytes(layer.parameters()) for layer in decoder_layers(run.language_model)]
        gathered = _bytes(run.language_model.parameters()) - sum(layers) + 2 * max(layers)
    step = by_adamw  # torch's AdamW on a GPU takes the root of all second moments at once
    return Memory(
        weights=weights + gathered,
        cache=0,
        gradients=share(learning),
        optimizer=2 * by_adamw + by_muon,
        activations=max(
            _with_few_layers(
                run, lambda left_out: _trained(run, pictures, text, batch, autocast, accumulated, left_out)
            ),
            step,
        ),
    )


def _trained(
    model: VisionLanguageModel,
    pictures: Sequence[Size],
    text: int,
    batch: int,
    mixed: torch.dtype | None,
    accumulated: bool,
    left_out: int,
) -> int:
    """The most bytes beside weights and their gradients at any moment of a forward and a backward pass."""
    with pretended(model) as copy:
        copy.train()  # without it, layers are not checkpointed
        for weight in copy.parameters():
            weight.grad = torch.empty_like(weight) if weight.requires_grad else None
        tensors = [*copy.parameters(), *copy.buffers()]
        alive = Alive([*tensors, *(weight.grad for weight in tensors if weight.grad is not None)])
        before = alive.now
        with alive, alive.phases.of(decoder_layers(copy.language_model)):
            with _autocast(mixed):
                embedded, _stacks = _embedded(copy, pictures, text, batch)
                output = copy.language_model(
                    inputs_embeds=embedded,
                    past_key_values=_NoCache(),
                    use_cache=False,
                    logits_to_keep=text,
                )
                logits = output.logits.float().flatten(0, 1)
                loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")
            del output, logits
            if not accumulated:
                copy.zero_grad()
            alive.phases.begin_backwards()
            loss.backward()
    return alive.phases.peak(left_out) - before


def _autocast(dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)


def _embedded(
    model: VisionLanguageModel, pictures: Sequence[Size], text: int, batch: int
) -> tuple[Tensor, list[Tensor]]:
    """As `VisionLanguageModel.embed`, for prompts whose ids have no values: [batch, tokens, width], and the stacks.

    These live as long as the prompt is read; that they are added is left out.
    """
    sizes = list(pictures) * batch
    ids = torch.zeros(batch, sum(prompt_tokens(model, pictures)) + text, dtype=torch.long)
    rows: Tensor = model.language_model.get_input_embeddings()(ids)
    if not sizes:
        return rows, []
    found = model.merged(views_of(model, sizes), sizes)
    tokens = torch.cat([each.tokens.to(rows) for each in found])
    embedded = rows.masked_scatter(torch.zeros_like(ids, dtype=torch.bool)[..., None], tokens)
    return embedded, [stack for each in found for stack in each.stacks]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class _NoCache(DynamicCache):
    """Keeps nothing. With one, transformers does not look for packed sequences in the values of the positions."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return key_states, value_states
