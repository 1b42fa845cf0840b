"""One attention for all: self and cross, dense and packed, with the kernel that fits."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import xformers_kernel
from foveal.core.packing import group_by

Backend = Literal["auto", "sdpa", "xformers"]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    lengths: Sequence[int] | None = None,
    key_lengths: Sequence[int] | None = None,
    causal: bool = False,
    key_mask: Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """softmax(query key^T scale) value (Vaswani et al., arXiv 1706.03762, equation 1).

    A query that may look at no key gives zeros.

    Args:
        query: [batch, queries, heads, head_width].
        key: [batch, keys, heads, head_width].
        value: [batch, keys, heads, head_width].
        lengths: queries of each packed sequence; batch is then 1, and no sequence sees another.
        key_lengths: keys of each packed sequence; by default `lengths` (self-attention).
        causal: query i sees keys 0..i of its sequence; queries and keys are equally many.
        key_mask: [batch, keys], True at keys that may be looked at; for dense input.
        scale: by default 1 / sqrt(head_width).
        backend: `sdpa`: torch; `xformers`: its memory-efficient kernel; `auto`: xformers for packed input where it can
            run, torch elsewhere.

    Returns:
        [batch, queries, heads, head_width]

    Raises:
        ValueError: if shapes, lengths and options do not fit each other.
        RuntimeError: if the backend was asked for by name and cannot run here; the message says why.
    """
    if lengths is not None and key_lengths is None:
        key_lengths = lengths
    _check(query, key, value, lengths, key_lengths, causal, key_mask)
    if _takes_xformers(query, backend, lengths is not None, _hindrance(lengths, key_lengths, key_mask)):
        return xformers_kernel.attend(query, key, value, lengths, key_lengths, causal, scale)
    if lengths is None or key_lengths is None:
        return _dense(query, key, value, causal, key_mask, scale)
    return _grouped(query, key, value, lengths, key_lengths, causal, scale)


def runs_packed(tensor: Tensor, backend: Backend = "auto") -> bool:
    """Whether sequences like `tensor` are better packed into one call than grouped by length.

    Args:
        tensor: [..., head_width], on the device and in the dtype of the queries.
        backend: see `attention`.

    Raises:
        RuntimeError: if `backend` names a kernel that cannot run here.
    """
    return _takes_xformers(tensor, backend, packed=True, hindrance=None)


def _hindrance(lengths: Sequence[int] | None, key_lengths: Sequence[int] | None, key_mask: Tensor | None) -> str | None:
    """What in the arguments keeps xformers from running, wherever it runs."""
    if key_mask is not None:
        return "a key mask is given; pack the sequences instead"
    if lengths is not None and (not lengths or 0 in lengths or 0 in (key_lengths or ())):
        # What its kernels write for sequences without keys, or into the gradient of those without queries, is open.
        return "a packed sequence is empty; leave it out"
    return None


def _takes_xformers(tensor: Tensor, backend: Backend, packed: bool, hindrance: str | None) -> bool:
    if backend not in ("auto", "sdpa", "xformers"):
        raise ValueError(f"unknown attention backend {backend!r}: auto, sdpa or xformers")
    if backend == "sdpa":
        return False
    if backend == "auto":
        return packed and hindrance is None and xformers_kernel.obstacle(tensor) is None
    reason = hindrance or xformers_kernel.obstacle(tensor)
    if reason is not None:
        raise RuntimeError(f"attention backend 'xformers' cannot run: {reason}")
    return True


def _dense(
    query: Tensor, key: Tensor, value: Tensor, causal: bool, key_mask: Tensor | None, scale: float | None
) -> Tensor:
    if key.shape[1] == 0:
        return torch.zeros_like(query)
    mask = sees = None
    if key_mask is not None:
        mask = key_mask[:, None, None, :]
        if causal:
            mask = mask & torch.ones(query.shape[1], key.shape[1], dtype=torch.bool, device=query.device).tril()
        # Kernels disagree about rows that see nothing: NaN, the mean of all values, zero. So those rows see everything
        # here, which keeps values and gradients finite, and are set to zero behind the kernel.
        sees = mask.any(dim=-1, keepdim=True)
        mask = mask | ~sees
    out = F.scaled_dot_product_attention(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
        scale=scale,
    ).transpose(1, 2)
    return out if sees is None else out.masked_fill(~sees.transpose(1, 2), 0.0)


def _grouped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int],
    key_lengths: Sequence[int],
    causal: bool,
    scale: float | None,
) -> Tensor:
    """Packed attention as one dense call for every pair of lengths."""
    queries = query[0].split(list(lengths))
    keys, values = key[0].split(list(key_lengths)), value[0].split(list(key_lengths))
    results: list[Tensor] = [query[0, :0]] * len(lengths)
    for indices in group_by(zip(lengths, key_lengths, strict=True)).values():
        q, k, v = (torch.stack([parts[index] for index in indices]) for parts in (queries, keys, values))
        for index, result in zip(indices, _dense(q, k, v, causal, None, scale), strict=True):
            results[index] = result
    return torch.cat([query[0, :0], *results])[None]  # the first part lets it be no sequence at all


def _check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int] | None,
    key_lengths: Sequence[int] | None,
    causal: bool,
    key_mask: Tensor | None,
) -> None:
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if any(tensor.ndim != 4 for tensor in (query, key, value)):
        raise ValueError(f"attention takes [batch, tokens, heads, head_width], got {shapes}")
    if key.shape != value.shape or query.shape[0] != key.shape[0] or query.shape[2:] != key.shape[2:]:
        raise ValueError(f"key and value must have one shape, and batch, heads and head_width of the query: {shapes}")
    if lengths is None:
        if key_lengths is not None:
            raise ValueError("key_lengths without lengths: give both to attend between packed sequences")
        if causal and query.shape[1] != key.shape[1]:
            raise ValueError(f"causal attention needs as many queries as keys: {shapes}")
    elif key_lengths is not None:
        if min([0, *lengths, *key_lengths]) < 0:
            raise ValueError(f"negative length in lengths {list(lengths)}, key lengths {list(key_lengths)}")
        if query.shape[0] != 1 or sum(lengths) != query.shape[1] or sum(key_lengths) != key.shape[1]:
            raise ValueError(
                f"packed attention takes batch 1 and lengths that add up: {shapes}, lengths add up to {sum(lengths)}, "
                f"key lengths to {sum(key_lengths)}"
            )
        if len(lengths) != len(key_lengths):
            raise ValueError(f"{len(lengths)} packed queries, {len(key_lengths)} packed keys: they must be pairs")
        if causal and list(lengths) != list(key_lengths):
            raise ValueError("causal attention needs as many queries as keys in every packed sequence")
        if key_mask is not None:
            raise ValueError("a key mask is for dense input: leave masked keys out of the packed sequences")
    if key_mask is not None and (key_mask.shape != key.shape[:2] or key_mask.dtype != torch.bool):
        raise ValueError(
            f"key_mask must be bool [batch, keys] = {tuple(key.shape[:2])}, "
            f"got {key_mask.dtype} {tuple(key_mask.shape)}"
        )
