"""Weights in 16 bits, except those that must keep their precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from lightning.pytorch.plugins.precision import HalfPrecision
from torch.nn import Module

ANGLES = "inv_freq"
"""Suffix of the buffers from which rotary angles are computed: in bf16, position 2047 is off by 2.5 rad."""


class HalfWeights(HalfPrecision):
    """Lightning's `bf16-true` and `16-true`, but with exact rotary angles and unconverted batches.

    Args:
        precision: `bf16-true` or `16-true`.
    """

    def __init__(self, precision: Literal["bf16-true", "16-true"]) -> None:
        super().__init__(precision)

    @classmethod
    def of(cls, precision: str) -> "list[HalfWeights]":
        """The plugin for this precision; empty for other precisions, which are left to Lightning."""
        if precision == "bf16-true":
            return [cls("bf16-true")]
        return [cls("16-true")] if precision == "16-true" else []

    def convert_module(self, module: Module) -> Module:
        """Cast `module` in place, except the buffers of `ANGLES`."""
        kept = {name: buffer for name, buffer in module.named_buffers() if name.endswith(ANGLES)}
        module.to(dtype=self._desired_input_dtype)
        for name, buffer in kept.items():
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, buffer)
        return module

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """Do nothing: new weights are drawn in float32, as with any other precision, and cast afterwards."""
        return nullcontext()

    def convert_input(self, data: Any) -> Any:
        """Return the data unchanged: pixels and ids are integers, and the encoder casts pixels itself."""
        return data
