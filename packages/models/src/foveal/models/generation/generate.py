"""Generate the answers to prompts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from math import inf
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor
from transformers import GenerationConfig, TextStreamer

from foveal.models.evaluation_mode import evaluation_mode
from foveal.models.generation.cuda_graphs import Steps, chooser, decode, graphs_obstacle
from foveal.models.generation.seen import SeenPictures
from foveal.models.language_models.injection import injected
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.batch import Batch

COLDEST = 1e-3
"""Smallest temperature above 0; logits that are divided by less may overflow."""

P = ParamSpec("P")
R = TypeVar("R")


def _without_gradients(
    function: Callable[Concatenate[VisionLanguageModel, P], R],
) -> Callable[Concatenate[VisionLanguageModel, P], R]:
    """Run in inference mode where it does no harm; it saves a tenth of a small model's time."""

    @wraps(function)
    def called(model: VisionLanguageModel, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # Parameters that FSDP first gathers in inference mode could not be trained afterwards.
        sharded = bool(getattr(model, "_is_fsdp_managed_module", False))
        with torch.inference_mode(not sharded), torch.no_grad():
            return function(model, *args, **kwargs)

    return called


def generate(
    model: VisionLanguageModel,
    batch: Batch,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    num_beams: int = 1,
    cuda_graphs: bool = False,
    on_text: Callable[[str], None] | None = None,
    seen: SeenPictures | None = None,
) -> list[str]:
    """The answers to a batch of prompts, without special tokens or surrounding whitespace.

    Args:
        model: put into evaluation mode for the call.
        batch: prompts from `Processor.encode_prompt`, collated with `side="left"`.
        max_new_tokens: longest answer in tokens.
        temperature: 0 takes the likeliest token; above 0, tokens are sampled.
        top_p: sample from the likeliest tokens whose probabilities add up to this much.
        num_beams: beams of a beam search; 1: no beam search.
        cuda_graphs: launch all kernels of a decoding step at once, see `generation.cuda_graphs`; greedy answers stay
            the same.
        on_text: called with every piece of text as soon as it is complete; for a single prompt only.
        seen: keeps the pictures of this model, so that those it knows are not encoded again.

    Raises:
        ValueError: if a setting is out of range, the batch is padded on the right, prompt and answer exceed the
            language model's context, several prompts or beams are to be streamed, or CUDA graphs are not possible.
    """
    ids = generate_ids(
        model,
        batch,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        num_beams=num_beams,
        cuda_graphs=cuda_graphs,
        on_text=on_text,
        seen=seen,
    )
    return [model.processor.decode(row) for row in ids]


@_without_gradients
def generate_ids(
    model: VisionLanguageModel,
    batch: Batch,
    *,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    num_beams: int = 1,
    cuda_graphs: bool = False,
    on_text: Callable[[str], None] | None = None,
    seen: SeenPictures | None = None,
) -> Tensor:
    """The ids of the answers, [batch, tokens]: each row has the token that ended its answer, if any, then padding.

    Arguments and errors are those of `generate`.
    """
    processor, language_model = model.processor, model.language_model
    if max_new_tokens < 1 or not (temperature == 0 or COLDEST <= temperature < inf) or not 0 < top_p <= 1:
        raise ValueError(
            f"max_new_tokens ({max_new_tokens}) must be at least 1, temperature ({temperature}) 0 or at least "
            f"{COLDEST}, and top_p ({top_p}) above 0 and at most 1"
        )
    if not bool(batch.attention_mask[:, -1].all()):
        raise ValueError('the prompts are padded on the right: collate them with side="left" to generate')
    places = batch.position_ids
    if places is not None and (places.shape[:-2] != (3,) or bool((places[..., -1] != places[0, :, -1]).any())):
        raise ValueError(
            "every row must be one prompt that ends with text: after the last row or column of a picture the position "
            "of the answer is not the next one"
        )
    context = language_model.config.get_text_config().max_position_embeddings
    if batch.input_ids.shape[1] + max_new_tokens > context:
        raise ValueError(
            f"the prompt's {batch.input_ids.shape[1]} tokens and {max_new_tokens} new ones exceed the language model's "
            f"context of {context}: ask for fewer new tokens or use smaller pictures"
        )
    if on_text is not None and (len(batch.input_ids) > 1 or num_beams > 1):
        raise ValueError(f"one answer can be streamed, not {len(batch.input_ids)} prompts with {num_beams} beams")
    reason = "a beam search moves its cache" if num_beams > 1 else graphs_obstacle(language_model, model.device)
    if cuda_graphs and reason is not None:
        raise ValueError(f"no CUDA graphs: {reason}")
    streamer = None if on_text is None else _Streamer(processor.tokenizer, on_text)
    with _answering(model):
        pictures = None
        if seen is not None:
            # Before the views go to the device: there they could not be recognised without coming back.
            pictures, batch = seen(batch.views, batch.sizes), replace(batch, views=())
        batch = batch.to(model.device)
        prompt = model.embed(batch.input_ids, batch.views, batch.sizes, pictures)
        if cuda_graphs:
            return decode(
                Steps(language_model, prompt, batch.attention_mask, max_new_tokens, batch.position_ids),
                max_new_tokens=max_new_tokens,
                choose=chooser(temperature, top_p),
                stop_ids=processor.stop_ids,
                pad_id=processor.pad_id,
                streamer=streamer,
            )
        with injected(language_model, prompt.stacks, len(batch.input_ids)):
            ids: Tensor = language_model.generate(
                inputs_embeds=prompt.embeddings,
                attention_mask=batch.attention_mask.long(),
                position_ids=batch.position_ids,
                max_new_tokens=max_new_tokens,
                do_sample=temperature > 0,
                temperature=temperature if temperature > 0 else None,
                top_p=top_p if temperature > 0 else None,
                top_k=0 if temperature > 0 else None,
                num_beams=num_beams,
                eos_token_id=processor.stop_ids,
                pad_token_id=processor.pad_id,
                streamer=streamer,
            )
    return ids


@contextmanager
def _answering(model: VisionLanguageModel) -> Iterator[None]:
    """Context in which a model is in evaluation mode and has no generation settings of its own.

    A published model recommends some, such as a repetition penalty: nobody asked for them.
    """
    language_model = model.language_model
    recommended, language_model.generation_config = language_model.generation_config, GenerationConfig()
    try:
        with evaluation_mode(model):
            yield
    finally:
        language_model.generation_config = recommended


class _Streamer(TextStreamer):
    """Pass finished words to a function instead of printing them."""

    def __init__(self, tokenizer: object, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.on_text = on_text
        self.begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Drop the space that most templates put before an answer: it is not part of the answer."""
        text = text if self.begun else text.lstrip()
        self.begun = self.begun or bool(text)
        if text:
            self.on_text(text)
