"""Shape-only quantised and LoRA layers, for estimating memory without the libraries that implement them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.models.estimates.cost import copied
from foveal.models.language_models.injection import decoder_layers
from foveal.models.language_models.quantize import BLOCK, BLOCKS, StoredKind, replace
from foveal.models.model import VisionLanguageModel


def quantized(model: VisionLanguageModel, kind: StoredKind) -> VisionLanguageModel:
    """A copy of `model` (on the meta device) with its decoder's linear layers as `quantize` makes them."""
    return _replaced(model, lambda linear: QuantizedLinear(linear, kind), (nn.Linear,))


def with_adapters(model: VisionLanguageModel, *, rank: int, dropout: float) -> VisionLanguageModel:
    """A copy of `model` (on the meta device) with adapters in its decoder; the rest of its language model is frozen.

    Args:
        model: may be the result of `quantized`.
        rank: rank of the adapters.
        dropout: dropout rate of their input.
    """
    copy = _replaced(model, lambda linear: Adapted(linear, rank, dropout), (nn.Linear, QuantizedLinear))
    for name, weight in copy.language_model.named_parameters():
        weight.requires_grad_(name.endswith((".down", ".up")))
    return copy


class QuantizedLinear(nn.Module):
    """A linear layer in 4 or 8 bits, stored as in bitsandbytes and multiplied as in its 4-bit layers.

    Not imitated: for few rows bitsandbytes does not unpack the weight, and with int8 it rounds the inputs instead.
    """

    def __init__(self, linear: nn.Linear, kind: StoredKind) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.kind = linear.weight.dtype
        weights = linear.weight.numel()
        blocks = -(-weights // BLOCK)
        # The scales have second-level scales and one offset; the tables hold the values of the 16 and 256 codes.
        pieces = {
            "nf4": (-(-weights // 2), 0, blocks + 16),
            "nf4-dq": (-(-weights // 2), blocks, -(-blocks // BLOCKS) + 1 + 16 + 256),
            "int8": (weights, 0, linear.out_features),
        }
        codes, scales, floats = pieces[kind.replace("fp4", "nf4")]
        self.register_buffer("codes", torch.empty(codes, dtype=torch.uint8, device="meta"))
        self.register_buffer("scales", torch.empty(scales, dtype=torch.uint8, device="meta"))
        self.register_buffer("floats", torch.empty(floats, device="meta"))

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]"""
        product: Tensor = _Product.apply(hidden.to(self.kind), self.out_features)
        return (product if self.bias is None else product + self.bias).to(hidden.dtype)


class Adapted(nn.Module):
    """A frozen linear layer with two thin trainable matrices (LoRA, arXiv 2106.09685, section 4.1)."""

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
    """A product with a weight that is unpacked for the forward and the backward pass and not kept."""

    @staticmethod
    def forward(context: Any, hidden: Tensor, out_features: int) -> Tensor:
        """[..., in_features] -> [..., out_features]"""
        context.in_features = hidden.shape[-1]
        return F.linear(hidden, _unpacked(hidden, out_features, hidden.shape[-1]))

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return gradient @ _unpacked(gradient, gradient.shape[-1], context.in_features), None


def _unpacked(like: Tensor, rows: int, columns: int) -> Tensor:
    """A weight in the dtype of `like`, allocated while its scales exist."""
    scales = like.new_empty(rows * columns // BLOCK, dtype=torch.float32)
    weight = like.new_empty(rows, columns)
    del scales
    return weight


def _replaced(
    model: VisionLanguageModel, make: Callable[[Any], nn.Module], kinds: tuple[type[nn.Module], ...]
) -> VisionLanguageModel:
    """A copy in which `make` replaces each layer of these classes in the decoder; existing adapters stay."""
    copy = copied(model)
    for layer in decoder_layers(copy.language_model):
        names = [name for name, module in layer.named_modules() if isinstance(module, kinds) and "lora_" not in name]
        for name in names:
            replace(layer, name, make(layer.get_submodule(name)))
    return copy
