"""Linear layers whose weight is stored in 4 or 8 bits; the only module that uses bitsandbytes' layers.

They are subclasses of the library's layers, so that LoRA finds them, with three differences: they compute in the dtype
of their input like `nn.Linear`, nothing that they hold changes during use, and a state dict restores them bit by bit.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from bitsandbytes import matmul, matmul_4bit  # type: ignore[attr-defined]  # its __init__ does not say what is public
from bitsandbytes.functional import (
    QuantState,
    dequantize_blockwise,
    get_4bit_type,
    int8_vectorwise_quant,
    quantize_blockwise,
)
from bitsandbytes.nn import modules
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.models.language_models.quantize import BLOCK, BLOCKS, OUTLIER

CHUNK = 2**22
"""Number of weights quantised at a time; each takes about 16 bytes meanwhile."""


class Linear4bit(modules.Linear4bit):
    """A linear layer in the 4-bit NormalFloat of QLoRA (arXiv 2305.14314, section 3), or in 4-bit floating point.

    Args:
        linear: the layer to replace; its bias is reused. `quantize_` or `restore_` sets the weight.
        kind: `nf4` or `fp4`.
        double: whether the blocks' scales are quantised too.
    """

    def __init__(self, linear: nn.Linear, *, kind: str = "nf4", double: bool) -> None:
        super().__init__(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compress_statistics=double,
            quant_type=kind,
            device="meta",
        )
        self.bias = linear.bias
        self.kind, self.scales_quantised = kind, double

    def quantize_(self, weight: Tensor) -> None:
        """Take over `weight` [out, in]; a float copy of a part of it is all the memory that this needs."""
        flat = weight.detach().contiguous().view(-1)
        packed = torch.empty((len(flat) + 1) // 2, 1, dtype=torch.uint8, device=weight.device)
        scales = torch.empty(-(-len(flat) // BLOCK), device=weight.device)
        # Blocks are independent, so chunks of whole blocks give the same result as one call of the library.
        for start in range(0, len(flat), CHUNK):
            some, scale = torch.ops.bitsandbytes.quantize_4bit(
                flat[start : start + CHUNK], BLOCK, self.kind, torch.uint8
            )
            packed[start // 2 : start // 2 + len(some)] = some
            scales[start // BLOCK : start // BLOCK + len(scale)] = scale
        offset = nested = None
        if self.scales_quantised:
            offset = scales.mean()
            scales, nested = quantize_blockwise(scales - offset, blocksize=BLOCKS)
        state = QuantState(
            absmax=scales,
            shape=weight.shape,
            code=get_4bit_type(self.kind, device=weight.device),
            blocksize=BLOCK,
            quant_type=self.kind,
            dtype=weight.dtype,
            offset=offset,
            state2=nested,
        )
        self._hold(packed, state)

    def restore_(self, pieces: Mapping[str, Tensor]) -> None:
        """Restore the layer from its entries of a state dict, `weight` and `weight. ...`, bit by bit.

        Raises:
            ValueError: if they do not fit the layer, or each other: the library's kernels do not look at their sizes.
        """
        statistics = {name: piece for name, piece in pieces.items() if name.startswith("weight.")}
        self.weight = modules.Params4bit.from_prequantized(
            pieces["weight"], quantized_stats=statistics, device=pieces["weight"].device, module=self
        )
        state, weights = self._state, self.out_features * self.in_features
        blocks = -(-weights // BLOCK)
        scales = (blocks, torch.uint8) if state.nested else (blocks, torch.float32)
        expected: list[object] = [(self.out_features, self.in_features), BLOCK, self.kind, *scales]
        found = [tuple(state.shape), state.blocksize, state.quant_type, state.absmax.numel(), state.absmax.dtype]
        expected += [-(-weights // 2), torch.uint8]
        found += [self.weight.data.numel(), self.weight.data.dtype]
        if state.nested:
            second = state.state2
            expected += [BLOCKS, -(-blocks // BLOCKS), torch.float32, 256, torch.float32]
            found += [second.blocksize, second.absmax.numel(), second.absmax.dtype]
            found += [second.code.numel(), second.code.dtype]
        if found != expected:
            raise ValueError(f"the pieces of a quantised weight have sizes and types {found}, expected are {expected}")

    def dequantized(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weight that the layer computes with, [out, in]; by default in the dtype that it was quantised from."""
        state = self._state
        scales = state.absmax
        if state.nested:
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        # As one long row: the library's CPU kernel assumes that every row is a whole number of blocks.
        flat = torch.ops.bitsandbytes.dequantize_4bit(
            self.weight.data, scales, BLOCK, self.kind, (1, state.shape.numel()), dtype or state.dtype
        )
        weight: Tensor = flat.view(state.shape)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        # Not the library's own forward: on some processors it permanently repacks the weight, which rounds its scales,
        # and it casts the bias in place.
        x = _autocast(x)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.in_features % BLOCK:
            return F.linear(x, self.dequantized(x.dtype), bias)
        result: Tensor = matmul_4bit(x, self.weight, quant_state=self._state, bias=bias)
        return result

    @property
    def _state(self) -> Any:
        """The quantisation state for dequantising; it belongs to the weight and moves to a device with it."""
        weight: Any = self.weight
        return weight.quant_state

    def _hold(self, packed: Tensor, state: QuantState) -> None:
        self.weight = modules.Params4bit(
            packed,
            requires_grad=False,
            quant_state=state,
            compress_statistics=state.nested,
            quant_type=self.kind,
            module=self,
            bnb_quantized=True,
        )
        self.quant_state = state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        _restore_from(self, state_dict, prefix, [name for name in state_dict if name.startswith(f"{prefix}weight.")])
        super()._load_from_state_dict(state_dict, prefix, *others)


class Linear8bit(modules.Linear8bitLt):
    """A linear layer with an int8 weight and a scale per row, as in LLM.int8() (arXiv 2208.07339).

    In training mode inputs stay as they are; otherwise they are rounded to int8 too, except for outliers.

    Args:
        linear: the layer to replace; its bias is reused.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            has_fp16_weights=False,
            threshold=OUTLIER,
            device="meta",
        )
        self.bias = linear.bias

    def quantize_(self, weight: Tensor) -> None:
        """Take over `weight` [out, in]; a float copy of a part of it is all the memory that this needs."""
        packed = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scales = torch.empty(len(weight), device=weight.device)
        rows = max(1, CHUNK // self.in_features)
        for start in range(0, len(weight), rows):
            part = slice(start, start + rows)
            packed[part], scales[part], _ = int8_vectorwise_quant(weight.detach()[part].to(torch.float16))
        self._hold(packed, scales)

    def restore_(self, pieces: Mapping[str, Tensor]) -> None:
        """Restore the layer from its entries of a state dict, `weight` and `SCB`, bit by bit.

        Raises:
            ValueError: as for `Linear4bit.restore_`.
        """
        expected = [(self.out_features, self.in_features), torch.int8, (self.out_features,), torch.float32]
        found = [each for piece in (pieces["weight"], pieces["SCB"]) for each in (tuple(piece.shape), piece.dtype)]
        if found != expected:
            raise ValueError(f"the pieces of a quantised weight have sizes and types {found}, expected are {expected}")
        self._hold(pieces["weight"], pieces["SCB"])

    def dequantized(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weight that the layer computes with, [out, in]; float32 by default."""
        scales: Any = self.state.SCB
        weight: Tensor = self.weight.data * (scales[:, None] / 127)
        return weight.to(dtype or torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]"""
        x = _autocast(x)
        self.state.is_training = self.training
        bias = None if self.bias is None else self.bias.to(x.dtype)
        result: Tensor = matmul(x, self.weight, state=self.state, bias=bias)
        return result

    def _hold(self, rows: Tensor, scales: Tensor) -> None:
        self.weight = modules.Int8Params(rows, requires_grad=False, has_fp16_weights=False)
        self.state.CB, self.state.SCB = self.weight.data, scales

    def _apply(self, fn: Any, recurse: bool = True) -> "Linear8bit":
        # The library moves these two only when the layer itself is moved, not when a model around it is.
        super()._apply(fn, recurse)
        if self.state.SCB is not None:
            self.state.CB, self.state.SCB = self.weight.data, self.state.SCB.to(self.weight.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        _restore_from(self, state_dict, prefix, [name for name in (f"{prefix}SCB",) if name in state_dict])
        super()._load_from_state_dict(state_dict, prefix, *others)


def _restore_from(
    layer: Linear4bit | Linear8bit, state_dict: dict[str, Any], prefix: str, names: Iterable[str]
) -> None:
    """Restore `layer` from copies; afterwards `state_dict` has only entries that `nn.Linear` knows.

    Raises:
        ValueError: if the weight is not quantised, because it would be rounded to integers.
    """
    if f"{prefix}weight" not in state_dict:
        return
    pieces = {name: state_dict.pop(name) for name in names}
    if not pieces:
        raise ValueError(f"{prefix}weight is not quantised, but the layer is: load the model with `quantize` instead")
    device = state_dict[f"{prefix}weight"].device if layer.weight.is_meta else layer.weight.device
    pieces[f"{prefix}weight"] = state_dict[f"{prefix}weight"]
    layer.restore_({name.removeprefix(prefix): piece.to(device, copy=True) for name, piece in pieces.items()})


def _autocast(x: Tensor) -> Tensor:
    """Cast `x` as autocast casts the input of an `nn.Linear`; autocast does not know these layers."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
