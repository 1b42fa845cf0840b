"""Decoder layers as if quantised, or with adapters: what takes memory in them, without the libraries that do it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.models.estimates.cost import copied
from foveal.models.language_models.injection import decoder_layers
from foveal.models.language_models.quantize import Kind, replace
from foveal.models.model import VisionLanguageModel

BLOCK, BLOCKS = 64, 256
"""Weights that share a scale, and scales that share one of their own (QLoRA, arXiv 2305.14314, section 3)."""


def quantized(model: VisionLanguageModel, kind: Kind) -> VisionLanguageModel:
    """A copy of `model`, which is on the meta device, with its decoder's linear layers as `quantize` makes them."""
    return _replaced(model, lambda linear: QuantizedLinear(linear, kind), (nn.Linear,))


def with_adapters(model: VisionLanguageModel, *, rank: int, dropout: float) -> VisionLanguageModel:
    """A copy of `model` (on the meta device) with adapters in its decoder; of its language model only they learn.

    Args:
        model: also one that `quantized` has made.
        rank: of the adapters.
        dropout: of what enters them.
    """
    copy = _replaced(model, lambda linear: Adapted(linear, rank, dropout), (nn.Linear, QuantizedLinear))
    for name, weight in copy.language_model.named_parameters():
        weight.requires_grad_(name.endswith((".down", ".up")))
    return copy


class QuantizedLinear(nn.Module):
    """A linear layer in 4 or 8 bits, as bitsandbytes keeps it, and as it multiplies with 4 bits.

    With few rows it does without unpacking; with int8 it rounds the inputs instead, which is not imitated.
    """

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.kind = linear.weight.dtype
        weights = linear.weight.numel()
        blocks = -(-weights // BLOCK)
        # Beside their scales, scales have one offset; the tables say what 16 and 256 codes stand for.
        pieces = {
            "nf4": (-(-weights // 2), 0, blocks + 16),
            "nf4-dq": (-(-weights // 2), blocks, -(-blocks // BLOCKS) + 1 + 16 + 256),
            "int8": (weights, 0, linear.out_features),
        }
        codes, scales, floats = pieces[kind]
        self.register_buffer("codes", torch.empty(codes, dtype=torch.uint8, device="meta"))
        self.register_buffer("scales", torch.empty(scales, dtype=torch.uint8, device="meta"))
        self.register_buffer("floats", torch.empty(floats, device="meta"))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""
        product: Tensor = _Product.apply(hidden.to(self.kind), self.out_features)
        return (product if self.bias is None else product + self.bias).to(hidden.dtype)


class Adapted(nn.Module):
    """A frozen linear layer and two thin matrices beside it that learn (LoRA, arXiv 2106.09685, section 4.1)."""

    def __init__(self, linear: nn.Linear | QuantizedLinear, rank: int, dropout: float) -> None:
        super().__init__()
        self.linear, self.dropout = linear, nn.Dropout(dropout)
        self.down = nn.Parameter(torch.empty(rank, self.linear.in_features, device="meta"))
        self.up = nn.Parameter(torch.empty(self.linear.out_features, rank, device="meta"))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""
        frozen: Tensor = self.linear(hidden)
        dropped = self.dropout(hidden.to(self.down.dtype))
        adapted: Tensor = F.linear(F.linear(dropped, self.down), self.up) * 2.0
        return (frozen + adapted).to(frozen.dtype)


class _Product(torch.autograd.Function):
    """A product with a weight that is unpacked for it, forwards and backwards, and not kept."""

    @staticmethod
    def forward(context: Any, hidden: Tensor, out_features: int) -> Tensor:
        context.in_features = hidden.shape[-1]
        return F.linear(hidden, _unpacked(hidden, out_features, hidden.shape[-1]))

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ _unpacked(gradient, gradient.shape[-1], context.in_features), None


def _unpacked(like: Tensor, rows: int, columns: int) -> Tensor:
    """A weight in the kind of number of `like`, made beside its scales."""
    scales = like.new_empty(rows * columns // BLOCK, dtype=torch.float32)
    weight = like.new_empty(rows, columns)
    del scales
    return weight


def _replaced(
    model: VisionLanguageModel, make: Callable[[Any], nn.Module], kinds: tuple[type[nn.Module], ...]
) -> VisionLanguageModel:
    """A copy with another layer for each of these kinds in the decoder; adapters that are there already stay."""
    copy = copied(model)
    for layer in decoder_layers(copy.language_model):
        names = [name for name, module in layer.named_modules() if isinstance(module, kinds) and "lora_" not in name]
        for name in names:
            replace(layer, name, make(layer.get_submodule(name)))
    return copy
