"""One attention function for all cases: self and cross, dense and packed, on the kernel that fits."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core.kernels import Backend, chosen
from foveal.core.packing import Lengths, group_by


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
    """Compute softmax(query key^T scale) value (Vaswani et al., arXiv 1706.03762, equation 1).

    A query that may attend to no key returns zeros. The kernel in use, and under `auto` the reason why the others were
    not used, is logged at INFO, once per device, dtype and head width.

    Args:
        query: [batch, queries, heads, head_width].
        key: [batch, keys, heads, head_width]; with fewer heads than `query`, neighbouring query heads share one
            (grouped-query attention, arXiv 2305.13245).
        value: same shape as `key`.
        lengths: number of queries in each packed sequence; batch is then 1, and sequences do not see each other.
            Layers that receive the same `Lengths` share what a kernel derives from them.
        key_lengths: number of keys in each packed sequence; by default `lengths` (self-attention).
        causal: query i sees keys 0..i of its sequence; needs as many queries as keys.
        key_mask: [batch, keys], True for keys that may be attended to; for dense input.
        scale: by default 1 / sqrt(head_width).
        backend: `sdpa`: torch's `scaled_dot_product_attention`; `xformers`: its memory-efficient attention; `varlen`:
            torch's attention for packed sequences; the last two run on CUDA only. `auto`: for packed input the first of
            xformers, varlen and sdpa that can run; for dense input sdpa.

    Returns:
        [batch, queries, heads, head_width]

    Raises:
        ValueError: if shapes, lengths and options do not fit together.
        RuntimeError: if the backend was requested by name and cannot run here; the message says why.
    """
    own = None if lengths is None else lengths if isinstance(lengths, Lengths) else Lengths(lengths)
    others = own if key_lengths is None else key_lengths if isinstance(key_lengths, Lengths) else Lengths(key_lengths)
    _check(query, key, value, own, others, causal, key_mask)
    attend = chosen(query, backend, packed=own is not None, hindrance=_hindrance(own, others, key_mask))
    if attend is not None and query.numel() and key.numel():
        return attend(query, key, value, own, others, causal, scale)
    groups = query.shape[2] // key.shape[2]
    if groups > 1:  # torch's own head sharing (enable_gqa) rules out its memory-efficient kernel
        key, value = key.repeat_interleave(groups, dim=2), value.repeat_interleave(groups, dim=2)
    if own is None or others is None:
        return _dense(query, key, value, causal, key_mask, scale)
    return _grouped(query, key, value, own, others, causal, scale)


def runs_packed(tensor: Tensor, backend: Backend = "auto") -> bool:
    """Whether it is better to pack sequences like `tensor` into one call than to group them by length.

    Args:
        tensor: [..., head_width], on the queries' device and in their dtype; under autocast, autocast's dtype is used.
        backend: see `attention`.

    Raises:
        RuntimeError: if `backend` names a kernel that cannot run here.
    """
    device = tensor.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        tensor = tensor.new_empty(0, tensor.shape[-1], dtype=torch.get_autocast_dtype(device))
    return chosen(tensor, backend, packed=True) is not None


def _hindrance(lengths: Sequence[int] | None, key_lengths: Sequence[int] | None, key_mask: Tensor | None) -> str | None:
    """The argument that rules out the packed kernels on any device, as a reason; None if there is none."""
    if key_mask is not None:
        return "a key mask is given; pack the sequences instead"
    if lengths is not None and (not lengths or 0 in lengths or 0 in (key_lengths or ())):
        # Their output for sequences without keys, and the gradient of sequences without queries, is undefined.
        return "a packed sequence is empty; leave it out"
    return None


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
        # Kernels disagree about rows that see nothing: NaN, the mean of all values, zero. So here those rows see
        # everything, which keeps values and gradients finite, and are set to zero after the kernel.
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
    """Packed attention, as one dense call per pair of lengths."""
    queries = query[0].split(list(lengths))
    keys, values = key[0].split(list(key_lengths)), value[0].split(list(key_lengths))
    results: list[Tensor] = [query[0, :0]] * len(lengths)
    for indices in group_by(zip(lengths, key_lengths, strict=True)).values():
        q, k, v = (torch.stack([parts[index] for index in indices]) for parts in (queries, keys, values))
        for index, result in zip(indices, _dense(q, k, v, causal, None, scale), strict=True):
            results[index] = result
    return torch.cat([query[0, :0], *results])[None]  # the empty first part allows for no sequences at all


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
    if key.shape != value.shape or query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        raise ValueError(f"key and value must have the same shape, with the query's batch and head_width: {shapes}")
    if not key.shape[2] or query.shape[2] % key.shape[2]:
        raise ValueError(f"the number of key and value heads must divide the number of query heads: {shapes}")
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
                f"packed attention needs batch 1 and lengths that add up: {shapes}, lengths add up to {sum(lengths)}, "
                f"key lengths to {sum(key_lengths)}"
            )
        if len(lengths) != len(key_lengths):
            raise ValueError(f"{len(lengths)} packed queries, {len(key_lengths)} packed keys: they must pair up")
        if causal and list(lengths) != list(key_lengths):
            raise ValueError("causal attention needs as many queries as keys in every packed sequence")
        if key_mask is not None:
            raise ValueError("a key mask is for dense input: leave masked keys out of the packed sequences")
    if key_mask is not None and (key_mask.shape != key.shape[:2] or key_mask.dtype != torch.bool):
        raise ValueError(
            f"key_mask must be bool [batch, keys] = {tuple(key.shape[:2])}, "
            f"got {key_mask.dtype} {tuple(key_mask.shape)}"
        )
