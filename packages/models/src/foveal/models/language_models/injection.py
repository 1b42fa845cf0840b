"""Inject stacks of visual tokens into decoder layers, from outside the language model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.merges.merge import Merge, Merged


@dataclass(frozen=True)
class Stack:
    """Values that are added to the input hidden states of one decoder layer.

    Attributes:
        layer: index of the decoder layer, from 0.
        rows: [values], rows of the batch.
        columns: [values], positions in the whole prompt.
        values: [values, width].
    """

    layer: int
    rows: Tensor
    columns: Tensor
    values: Tensor


@dataclass(frozen=True)
class Embedded:
    """A batch of prompts for the language model.

    Attributes:
        embeddings: [batch, tokens, width].
        stacks: values added to hidden states between decoder layers.
    """

    embeddings: Tensor
    stacks: tuple[Stack, ...]


def stacks_in_place(merge: Merge | None, pictures: Sequence[Merged], placeholders: Tensor) -> tuple[Stack, ...]:
    """The pictures' stacks with their positions in the batch, joined for each layer.

    Args:
        merge: the merge that made them; None: there are no stacks.
        pictures: in reading order.
        placeholders: [batch, tokens], True at the tokens of pictures.

    Raises:
        ValueError: if a picture has more stacks than the merge has layers.
    """
    if merge is None:
        return ()
    if (most := max((len(picture.stacks) for picture in pictures), default=0)) > len(merge.layers):
        raise ValueError(f"{type(merge).__name__} made {most} stacks of a picture, its layers are {merge.layers}")
    places = placeholders.nonzero().split([len(picture.tokens) for picture in pictures])
    stacks = []
    for number, layer in enumerate(merge.layers):
        having = [
            (place, picture.stacks[number])
            for place, picture in zip(places, pictures, strict=True)
            if number < len(picture.stacks)
        ]
        if having:
            rows, columns = torch.cat([place for place, _ in having]).unbind(dim=1)
            stacks.append(Stack(layer, rows, columns, torch.cat([values for _, values in having])))
    return tuple(stacks)


@contextmanager
def injected(language_model: Any, stacks: Sequence[Stack], batch_size: int) -> Iterator[None]:
    """Context in which `language_model` adds the stacks whenever their positions pass through it.

    Positions are absolute: with a cache, a prompt may come in several chunks, and a decoding step adds nothing. If the
    rows of a batch are repeated for a beam search, the stacks are added to every beam.

    Args:
        language_model: a causal language model of transformers.
        stacks: in any order.
        batch_size: rows of the batch before any repetition.
    """
    layers = decoder_layers(language_model) if stacks else nn.ModuleList()
    with ExitStack() as hooks:
        for stack in stacks:
            handle = layers[stack.layer].register_forward_pre_hook(_adder(stack, batch_size), with_kwargs=True)
            hooks.callback(handle.remove)
        yield


def decoder_layers(language_model: Any) -> nn.ModuleList:
    """The decoder layers of a causal language model of transformers.

    Raises:
        ValueError: if the layers cannot be found, or do not use a cache, which tells how much of a prompt they have
            seen.
    """
    layers = getattr(language_model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList) or "past_key_values" not in signature(layers[0].forward).parameters:
        raise ValueError(f"{type(language_model).__name__} has no decoder layers with a cache to add stacks to")
    return layers


def _adder(stack: Stack, batch_size: int) -> Callable[..., Any]:
    # Read once: reading from the device at every layer of every decoding step would synchronise each time.
    first, last = int(stack.columns.min()), int(stack.columns.max())
    passed: Any = None

    def add(
        layer: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal passed
        hidden: Tensor = arguments[0] if arguments else options["hidden_states"]
        cache = options.get("past_key_values")
        if cache is not None and cache is passed:
            return arguments, options
        before = 0 if cache is None else int(cache.get_seq_length(stack.layer))
        if last < before + hidden.shape[1]:
            passed = cache
        if last < before or first >= before + hidden.shape[1]:
            return arguments, options
        inside = (stack.columns >= before) & (stack.columns < before + hidden.shape[1])
        beams, rest = divmod(len(hidden), batch_size)
        if rest:
            raise ValueError(f"a batch of {len(hidden)} rows where a multiple of {batch_size} is expected")
        columns = (stack.columns[inside] - before).repeat(beams)
        rows = torch.cat([stack.rows[inside] * beams + beam for beam in range(beams)])
        values = stack.values[inside].to(hidden).repeat(beams, 1)
        # Out of place: the original input may be kept for the backward pass.
        hidden = hidden.index_put((rows, columns), hidden[rows, columns] + values)
        if arguments:
            return (hidden, *arguments[1:]), options
        return arguments, {**options, "hidden_states": hidden}

    return add
