"""Choose the attention of a transformers language model, including packed kernels for whole sequences.

transformers calls two functions registered under one name: one makes the mask, once for all layers, and the other
attends with it. Without the first, padding would silently be attended to. Here the mask says where the sequences of a
batch are: the real tokens of each row, or the sequences packed into it. The kernel, xformers' or torch's `varlen_attn`,
gets them concatenated, so that nothing is computed for padding or between sequences.

Steps after a cached prefix, with fewer queries than keys, use transformers' own SDPA and its mask. The result is the
same, and packing would copy the whole cache at every step.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from foveal.core import Backend, Lengths, attention
from foveal.core.kernels import PACKED

AttentionKind = Literal["sdpa", "xformers", "varlen", "eager"]

NAMES = {"xformers": "foveal_xformers", "varlen": "foveal_varlen"}
"""Name of both functions of a packed kernel in transformers' tables of attention functions and mask functions."""

PACKED_SDPA = "foveal_sdpa"
"""Name of both functions of SDPA that attends to the samples of packed rows one by one."""

logger = logging.getLogger(__name__)


def use_attention(language_model: nn.Module, kind: AttentionKind | None) -> None:
    """Make a language model compute attention with torch's SDPA, with a packed kernel, or as plain products.

    Whether a packed kernel supports the model's device, dtype and head width is only known when the model runs; the
    first pass fails if it does not. A model on the meta device, used only to count costs, keeps its attention.

    Args:
        language_model: a causal language model of transformers; its layers are causal over whole sequences. With
            `xformers` and `varlen` it runs on a CUDA device.
        kind: `xformers` needs the package of that name, `varlen` only torch; `eager` keeps the whole table of weights
            in memory; None: keep the language model's attention, which is logged.

    Raises:
        ValueError: if `kind` is unknown, or the model cannot change its attention.
        RuntimeError: if xformers is requested but not installed, or there is no CUDA device for a packed kernel.
    """
    if kind not in (None, *get_args(AttentionKind)):
        raise ValueError(f"unknown attention {kind!r}: {', '.join(get_args(AttentionKind))}")
    model: Any = language_model
    weight: Tensor = model.get_input_embeddings().weight
    if weight.is_meta and (kind is None or kind in NAMES):
        return
    if kind == "xformers" or kind == "varlen":
        # The kernel itself is not tried yet: that would allocate memory on a GPU before a rank has chosen its device.
        absent = not torch.cuda.is_available() or (kind == "xformers" and find_spec("xformers") is None)
        if absent and (reason := PACKED[kind].obstacle(weight)) is not None:
            raise RuntimeError(f"attention {kind!r} cannot run: {reason}; use sdpa")
        _register(kind)
    if kind is not None:
        name = NAMES.get(kind, kind)
        model.set_attn_implementation(name)
        # transformers only warns if the attention cannot be changed.
        if model.config._attn_implementation != name:
            raise ValueError(f"{type(model).__name__} cannot change its attention to {kind!r}: leave it as it is")
    logger.info("language model %s: attention %s", type(model).__name__, kind or model.config._attn_implementation)


def use_packed_sdpa(language_model: nn.Module) -> None:
    """Let a language model with SDPA attend to the samples of packed rows one by one, without a mask of all pairs.

    For rows of one sequence it is transformers' own SDPA, as before.
    """
    model: Any = language_model
    _register("sdpa")
    model.set_attn_implementation(PACKED_SDPA)


@dataclass(frozen=True)
class _Sequences:
    """The sequences of a batch; attention is causal inside each of them, with nothing between them.

    Attributes:
        lengths: lengths of all sequences in reading order, one object for all layers; None: each row is one sequence.
        places: positions of their tokens in the flattened batch; None: there is no padding.
    """

    lengths: Lengths | None
    places: Tensor | None


def _register(kind: Backend) -> None:
    """Register both functions with transformers; registering them again is harmless."""
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    name = NAMES.get(kind, PACKED_SDPA)
    AttentionMaskInterface.register(name, partial(_mask, kind))
    # Compiled, it would be compiled anew for the lengths of every batch.
    AttentionInterface.register(name, torch.compiler.disable(partial(_attend, kind)))


def _mask(kind: Backend, batch_size: int, q_length: int, kv_length: int, **options: Any) -> _Sequences | Tensor | None:
    """A mask function as transformers calls it; it returns SDPA's mask, a tensor or None, after a cached prefix.

    So does SDPA's own one, except for packed rows.
    """
    from transformers.masking_utils import sdpa_mask

    behind = q_length != kv_length or options["q_offset"] or options["kv_offset"]
    starts = None
    if not behind and not options["use_vmap"]:
        starts = _starts(options["mask_function"], batch_size, q_length, options["device"])
    packed = starts is not None and bool(starts[:, 1:].any())
    if behind or (kind == "sdpa" and not packed):
        mask: Tensor | None = sdpa_mask(batch_size, q_length, kv_length, **options)
        return mask
    if starts is None:
        raise ValueError(
            f"attention {kind!r} is causal inside whole sequences, and the language model asks for something else "
            f"at {q_length} tokens (a sliding window, or attention in both directions): use sdpa"
        )
    real: Tensor | None = options["attention_mask"]
    places = (torch.ones_like(starts) if real is None else real.bool()).flatten().nonzero().squeeze(1)
    _, counts = starts.flatten().cumsum(0)[places].unique_consecutive(return_counts=True)
    lengths = Lengths(counts.tolist())
    if not lengths:
        raise ValueError(f"a batch of {batch_size} x {q_length} tokens is all padding: there is nothing to attend to")
    # For varlen, rows are ordinary sequences; otherwise it would need their starts anew in every layer.
    if kind == "xformers" and lengths == (q_length,) * batch_size:
        return _Sequences(None, None)
    return _Sequences(lengths, None if len(places) == starts.numel() else places)


def _starts(sees: Callable[..., Tensor], batch_size: int, tokens: int, device: torch.device | str) -> Tensor | None:
    """Where sequences begin, [batch, tokens]; None: `sees` is not just causal attention inside sequences.

    `sees` is evaluated for each token with its neighbours and the first token of its sequence. Evaluating all pairs
    would build the table that the kernel avoids. This distinguishes the patterns of transformers: windows, chunks,
    blocks of neighbours and both directions. A caller's own patterns do not get here.

    Args:
        sees: row, head, query and key -> whether the query sees the key.
        batch_size: number of rows.
        tokens: tokens of every row.
        device: device of the result.
    """
    rows, here = torch.arange(batch_size, device=device)[:, None], torch.arange(tokens, device=device)[None]
    head = torch.zeros_like(here[:, :1])

    def look(keys: Tensor) -> Tensor:
        return sees(rows, head, here, keys).expand(batch_size, tokens)

    following = (here + 1).clamp(max=tokens - 1)
    starts = ~look((here - 1).clamp(min=0))
    starts[:, 0] = True
    first = torch.where(starts, here, 0).cummax(dim=1).values
    agrees = look(first) & ~(look(following) & (following > here))
    return starts if bool(agrees.all()) else None


def _attend(
    kind: Backend,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: _Sequences | Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it; the output at padding is zero.

    Args:
        kind: the packed kernel.
        module: a layer's attention.
        query: [batch, heads, tokens, head_width].
        key: [batch, heads or fewer, tokens, head_width].
        value: shape as `key`.
        attention_mask: from `_mask`.
        scaling: scale of the scores.
        dropout: probability, which must be 0.
        options: the model's other options.

    Returns:
        [batch, tokens, heads, head_width], and None in place of attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(attention_mask, _Sequences):
        if kind != "sdpa" and attention_mask is None and query.shape[2] == key.shape[2]:
            raise RuntimeError(
                f"no mask function made a mask for {NAMES[kind]}: padding would be seen; call use_attention"
            )
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **options
        )
        return result
    wanted = [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if wanted or dropout:
        raise ValueError(
            f"attention {kind!r} has no {', '.join(wanted) or f'dropout ({dropout})'}, which the language model asks "
            f"for: use {'eager' if kind == 'sdpa' else 'sdpa'}"
        )
    batch_size, _, tokens, _ = query.shape
    # Rotated queries and keys may be float32 although autocast computes in 16 bits; SDPA casts them itself.
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    query, key, value = (_packed(each, attention_mask, dtype) for each in (query, key, value))
    out = attention(query, key, value, lengths=attention_mask.lengths, causal=True, scale=scaling, backend=kind)
    if attention_mask.places is not None:
        empty = out.new_zeros(batch_size * tokens, *out.shape[2:])
        out = empty.index_copy(0, attention_mask.places, out[0])
    return out.view(batch_size, tokens, *out.shape[-2:]), None


def _packed(states: Tensor, sequences: _Sequences, dtype: torch.dtype) -> Tensor:
    """[batch, heads, tokens, head_width] -> [batch, tokens, heads, head_width] for the kernel; batch 1 if packed."""
    states = states.transpose(1, 2).to(dtype)
    if sequences.lengths is None:
        return states
    flat = states.flatten(0, 1)
    return (flat if sequences.places is None else flat[sequences.places])[None]
