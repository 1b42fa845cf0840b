"""Decoding with a cache of fixed size, whose steps are one CUDA graph.

A decoding step of a large model is some thousand small kernels, and starting them one by one takes longer than what
they compute. A graph starts all of them at once, over and over, but always with the same memory: keys and values
have their room for the whole answer from the beginning, and what a step reads and writes stays where it is.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessorList, StaticCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import StaticLayer
from transformers.generation import BaseStreamer

from foveal.models.language_models.injection import Embedded, injected
from foveal.models.language_models.packed_attention import NAMES
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.prompts.batch import position_ids

Step = Callable[[], None]
MASKED = ("sdpa", *NAMES.values())
EAGER_STEPS = 2
"""Steps before the capture: in the first ones libraries choose kernels and take memory for themselves."""
GROWING = ("dynamic", "longrope")
"""Kinds of rotary positions whose angles follow the longest position, which the host has to read."""


def graphs_obstacle(language_model: nn.Module, device: torch.device) -> str | None:
    """Why the decoding steps of a language model on `device` cannot be one CUDA graph; None: they can."""
    model: Any = language_model
    config = model.config.get_text_config()
    if device.type != "cuda":
        return f"the model is on the {device.type}, not on a CUDA device"
    if recorded_kind(model.config) == "int8":
        return "int8 looks for outliers among the inputs at every step, on the host"
    if (attention := model.config._attn_implementation) not in MASKED:
        return f"the attention {attention!r} takes no ready mask: choose sdpa"
    if any(type(layer) is not StaticLayer for layer in StaticCache(config, max_cache_len=1).layers):
        return f"{type(model).__name__} has layers with another memory than keys and values of all tokens"
    if getattr(config, "alibi", False):
        return f"{type(model).__name__} makes its mask itself (ALiBi)"
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in GROWING:
        return f"rotary positions of the kind {rope['rope_type']!r} are computed anew as a text grows"
    return None


def graph(step: Step) -> Step:
    """`step`, captured as a CUDA graph on the current device; it is not run.

    Raises:
        ValueError: if something in it cannot be captured.
    """
    captured = torch.cuda.CUDAGraph()
    try:
        # A stream of this device: the library's own belongs to the device of the first capture of all.
        with torch.cuda.graph(captured, stream=torch.cuda.Stream()):
            step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"a decoding step of this model is no CUDA graph ({error}): leave them out") from error
    replay: Step = captured.replay
    return replay


class Steps:
    """Prompts that were read, and then one token of each after the other, in inference mode.

    Args:
        language_model: in evaluation mode.
        prompt: embeddings, padded on the left, and stacks.
        attention_mask: [batch, tokens], True at real tokens.
        room: tokens for which there is memory beside the prompt's.
        capture: from a step to one that does the same, without doing it.

    Attributes:
        prompt_logits: [batch, vocabulary], of what follows the prompts.
    """

    def __init__(
        self,
        language_model: Any,
        prompt: Embedded,
        attention_mask: Tensor,
        room: int,
        *,
        capture: Callable[[Step], Step] = graph,
    ) -> None:
        batch, length = attention_mask.shape
        self.language_model, self.capture = language_model, capture
        with injected(language_model, prompt.stacks, batch):
            read = language_model(
                inputs_embeds=prompt.embeddings,
                attention_mask=attention_mask,
                position_ids=position_ids(attention_mask),
                past_key_values=DynamicCache(config=language_model.config),
                use_cache=True,
                logits_to_keep=1,
            )
        self.prompt_logits: Tensor = read.logits[:, -1]
        self.cache = _with_room(read.past_key_values, language_model.config, length + room)
        # From here on nothing moves: a graph knows memory by its address.
        self.logits = torch.empty_like(self.prompt_logits)
        self.token = attention_mask.new_zeros(batch, 1, dtype=torch.long)
        self.position = attention_mask.sum(dim=1, keepdim=True)
        self.column = torch.tensor([length], device=attention_mask.device)
        self.visible = attention_mask.new_zeros(batch, 1, 1, length + room, dtype=torch.bool)
        self.visible[..., :length] = attention_mask[:, None, None]
        self.eager_steps = EAGER_STEPS
        self.captured: Step | None = None

    def after(self, token: Tensor) -> Tensor:
        """Logits [batch, vocabulary] of what follows `token` [batch]; the next call writes over them."""
        self.token.copy_(token[:, None])
        if self.eager_steps:
            self.eager_steps -= 1
            self.step()
            return self.logits
        if self.captured is None:
            with torch.cuda.device_of(self.token):
                self.captured = self.capture(self.step)
        self.captured()
        return self.logits

    def step(self) -> None:
        """From `token` to `logits`, with nothing that the host would have to wait for or decide."""
        self.visible.index_fill_(3, self.column, True)
        read = self.language_model(
            input_ids=self.token,
            attention_mask=self.visible,
            position_ids=self.position,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.logits.copy_(read.logits[:, -1])
        self.position.add_(1)
        self.column.add_(1)


def decode(
    steps: Steps,
    *,
    max_new_tokens: int,
    choose: Callable[[Tensor], Tensor],
    stop_ids: list[int],
    pad_id: int,
    streamer: BaseStreamer | None = None,
) -> Tensor:
    """The ids of the answers, [batch, tokens]; rows that ended before the longest are filled with `pad_id`.

    Args:
        steps: that have read the prompts.
        max_new_tokens: longest answer in tokens, no more than `steps` has room for.
        choose: from logits [batch, vocabulary] in float32 to tokens [batch].
        stop_ids: tokens after which an answer is over.
        pad_id: token behind the end of an answer.
        streamer: gets every token of the only row.
    """
    logits = steps.prompt_logits
    stops = torch.tensor(stop_ids, dtype=torch.long, device=logits.device)
    over = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    rows: list[Tensor] = []
    while True:
        token = choose(logits.float()).masked_fill(over, pad_id)
        rows.append(token)
        if streamer is not None:
            streamer.put(token.cpu())
        over = over | torch.isin(token, stops)
        if len(rows) == max_new_tokens or bool(over.all()):
            break
        logits = steps.after(token)
    if streamer is not None:
        streamer.end()
    return torch.stack(rows, dim=1)


def chooser(temperature: float, top_p: float) -> Callable[[Tensor], Tensor]:
    """From logits [batch, vocabulary] to tokens [batch]: the likeliest at temperature 0, otherwise drawn."""
    if temperature == 0:
        return lambda logits: logits.argmax(dim=-1)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)])

    def draw(logits: Tensor) -> Tensor:
        no_ids: Any = None  # which tokens came before does not matter to these
        scores: Tensor = warpers(no_ids, logits)
        return torch.multinomial(scores.softmax(dim=-1), num_samples=1).squeeze(1)

    return draw


def _with_room(read: Any, config: Any, tokens: int) -> StaticCache:
    """A cache with room for so many tokens that holds what was read; the other one is emptied on the way."""
    cache = StaticCache(config, max_cache_len=tokens)
    for fixed, grown in zip(cache.layers, read.layers, strict=True):
        fixed.update(grown.keys, grown.values)
        grown.keys = grown.values = None
    return cache
