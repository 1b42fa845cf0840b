"""Decoding with a static cache, where each step replays one CUDA graph.

A decoding step of a large model consists of about a thousand small kernels, and launching them one by one takes longer
than running them. A graph launches all of them at once, any number of times, but always on the same memory: the cache
is allocated for the whole answer at the start, and a step's inputs and outputs never move.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessorList, StaticCache, TemperatureLogitsWarper, TopPLogitsWarper
from transformers.cache_utils import StaticLayer
from transformers.generation import BaseStreamer

from foveal.models.language_models.injection import Embedded, injected
from foveal.models.language_models.packed_attention import NAMES, PACKED_SDPA
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.language_models.rotary import growing_rotary
from foveal.models.prompts.batch import position_ids

Step = Callable[[], None]
MASKED = ("sdpa", PACKED_SDPA, *NAMES.values())
EAGER_STEPS = 2
"""Steps before the capture: during the first ones libraries choose kernels and allocate workspaces."""


def graphs_obstacle(language_model: nn.Module, device: torch.device) -> str | None:
    """Why a decoding step of a language model on `device` cannot be captured as a CUDA graph; None: it can."""
    model: Any = language_model
    config = model.config.get_text_config()
    if device.type != "cuda":
        return f"the model is on the {device.type}, not on a CUDA device"
    if recorded_kind(model.config) == "int8":
        return "int8 searches the inputs for outliers at every step, on the host"
    if (attention := model.config._attn_implementation) not in MASKED:
        return f"the attention {attention!r} does not accept a ready-made mask: choose sdpa"
    if any(type(layer) is not StaticLayer for layer in StaticCache(config, max_cache_len=1).layers):
        return f"{type(model).__name__} has layers that do not cache the keys and values of all tokens"
    if getattr(config, "alibi", False):
        return f"{type(model).__name__} builds its own mask (ALiBi)"
    if (rotary := growing_rotary(config)) is not None:
        return f"rotary embeddings of type {rotary!r} are recomputed as the text grows"
    return None


def graph(step: Step) -> Step:
    """Capture `step` as a CUDA graph on the current device, without running it.

    Raises:
        ValueError: if something in it cannot be captured.
    """
    captured = torch.cuda.CUDAGraph()
    try:
        # A stream of this device: torch's default capture stream belongs to the device of the very first capture.
        with torch.cuda.graph(captured, stream=torch.cuda.Stream()):
            step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"a decoding step of this model cannot be captured ({error}): turn CUDA graphs off") from error
    replay: Step = captured.replay
    return replay


class Steps:
    """Read the prompts, then decode one token per prompt at each step, in inference mode.

    Args:
        language_model: in evaluation mode.
        prompt: embeddings, padded on the left, and stacks.
        attention_mask: [batch, tokens], True at real tokens.
        room: number of tokens to allocate in addition to the prompt's.
        positions: the prompt's positions on a grid, [3, batch, tokens]; None: counted in `attention_mask`.
        capture: turns a step into an equivalent one without running it.

    Attributes:
        prompt_logits: [batch, vocabulary], for the token that follows each prompt.
    """

    def __init__(
        self,
        language_model: Any,
        prompt: Embedded,
        attention_mask: Tensor,
        room: int,
        positions: Tensor | None = None,
        *,
        capture: Callable[[Step], Step] = graph,
    ) -> None:
        batch, length = attention_mask.shape
        if positions is None:
            positions = position_ids(attention_mask)
        self.language_model, self.capture = language_model, capture
        with injected(language_model, prompt.stacks, batch):
            read = language_model(
                inputs_embeds=prompt.embeddings,
                attention_mask=attention_mask,
                position_ids=positions,
                past_key_values=DynamicCache(config=language_model.config),
                use_cache=True,
                logits_to_keep=1,
            )
        self.prompt_logits: Tensor = read.logits[:, -1]
        self.cache = _with_room(read.past_key_values, language_model.config, length + room)
        # From here on nothing may move: a graph refers to memory by address.
        self.logits = torch.empty_like(self.prompt_logits)
        self.token = attention_mask.new_zeros(batch, 1, dtype=torch.long)
        self.position = positions[..., -1:] + 1
        self.column = torch.tensor([length], device=attention_mask.device)
        self.visible = attention_mask.new_zeros(batch, 1, 1, length + room, dtype=torch.bool)
        self.visible[..., :length] = attention_mask[:, None, None]
        self.eager_steps = EAGER_STEPS
        self.captured: Step | None = None

    def after(self, token: Tensor) -> Tensor:
        """Logits [batch, vocabulary] for the token after `token` [batch]; the next call overwrites them."""
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
        """Compute `logits` from `token`, with nothing that the host has to wait for or decide."""
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
    """The ids of the answers, [batch, tokens]; rows shorter than the longest are filled up with `pad_id`.

    Args:
        steps: has read the prompts.
        max_new_tokens: longest answer in tokens, at most the `room` of `steps`.
        choose: maps logits [batch, vocabulary] in float32 to tokens [batch].
        stop_ids: tokens that end an answer.
        pad_id: token that fills a row after the end of its answer.
        streamer: receives every token; for a single row only.
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


def chooser(temperature: float, top_p: float, generator: torch.Generator | None = None) -> Callable[[Tensor], Tensor]:
    """A function from logits [batch, vocabulary] to tokens [batch]: the likeliest at temperature 0, else sampled.

    Args:
        temperature: 0, or what logits are divided by.
        top_p: sample from the likeliest tokens whose probabilities add up to this much.
        generator: source of the randomness, on the device of the logits; None: torch's own.
    """
    if temperature == 0:
        return lambda logits: logits.argmax(dim=-1)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)])

    def draw(logits: Tensor) -> Tensor:
        no_ids: Any = None  # these processors ignore the previous tokens
        scores: Tensor = warpers(no_ids, logits)
        return torch.multinomial(scores.softmax(dim=-1), num_samples=1, generator=generator).squeeze(1)

    return draw


def _with_room(read: Any, config: Any, tokens: int) -> StaticCache:
    """A static cache for `tokens` tokens that holds the contents of `read`, which is emptied in the process."""
    cache = StaticCache(config, max_cache_len=tokens)
    for fixed, grown in zip(cache.layers, read.layers, strict=True):
        fixed.update(grown.keys, grown.values)
        grown.keys = grown.values = None
    return cache
