"""Attention with separate projections, for query connectors."""

import torch
from torch import Tensor, nn

from foveal.core import Backend, attention


class CrossAttention(nn.Module):
    """Multi-head attention to keys and values of another width (arXiv 1706.03762, section 3.2.2).

    Args:
        width: channels of the queries and of the result.
        heads: attention heads.
        key_width: channels of keys and values; by default `width`.
        head_width: channels of one head; by default `width` / `heads`.
        key_heads: heads of keys and values, each shared by several query heads (arXiv 2305.13245); by default `heads`.
        bias: whether the projections have a bias.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if `heads` does not divide `width` (without `head_width`) or is not a multiple of `key_heads`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_width: int | None = None,
        head_width: int | None = None,
        key_heads: int | None = None,
        bias: bool = True,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if heads < 1 or (head_width is None and width % heads) or heads % (key_heads or heads):
            raise ValueError(f"heads {heads} must divide width {width} and be a multiple of key_heads {key_heads}")
        self.heads, self.key_heads, self.backend = heads, key_heads or heads, backend
        self.head_width = head_width or width // heads
        key_width = key_width or width
        self.query = nn.Linear(width, self.heads * self.head_width, bias=bias)
        self.key = nn.Linear(key_width, self.key_heads * self.head_width, bias=bias)
        self.value = nn.Linear(key_width, self.key_heads * self.head_width, bias=bias)
        self.out = nn.Linear(self.heads * self.head_width, width, bias=bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """[batch, queries, width] and twice [batch, keys, key_width] -> [batch, queries, width]."""
        split = [
            projection(source).unflatten(-1, (-1, self.head_width))
            for projection, source in ((self.query, query), (self.key, key), (self.value, value))
        ]
        repeats = self.heads // self.key_heads
        keys, values = (each.repeat_interleave(repeats, dim=2) if repeats > 1 else each for each in split[1:])
        attended = attention(split[0], keys, values, key_mask=key_mask, backend=self.backend)
        result: Tensor = self.out(attended.flatten(2))
        return result


def with_all(mask: Tensor | None, more: int) -> Tensor | None:
    """Extend a mask over keys by `more` keys that always count."""
    return None if mask is None else torch.cat([mask, mask.new_ones(len(mask), more)], dim=1)
