"""Run the last decoder layer's MLP only where logits are needed; it works per token, and nothing reads the others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.language_models.injection import decoder_layers


@contextmanager
def last_mlp_at(language_model: Any, columns: Tensor | None) -> Iterator[None]:
    """Context in which the last layer's MLP sees only the positions in `columns` and is skipped at the others.

    The model's output for those columns is unchanged; its last hidden states elsewhere are not. A layer that is
    recomputed for the backward pass, or has no module `mlp`, is left as it is.

    Args:
        language_model: a causal language model of transformers, called without a cache.
        columns: [positions]; None: all are needed.
    """
    with ExitStack() as hooks:
        if columns is not None and (mlp := _last_mlp(language_model)) is not None:
            work = _Columns(columns)
            hooks.callback(mlp.register_forward_pre_hook(work.choose).remove)
            hooks.callback(mlp.register_forward_hook(work.put_back).remove)
        yield


class _Columns:
    """Hooks for a module that works per token: [batch, tokens, width] -> the same shape, computed at some columns."""

    def __init__(self, columns: Tensor) -> None:
        self.columns, self.shape = columns, torch.Size()

    def choose(self, module: nn.Module, arguments: tuple[Tensor]) -> Tensor:
        self.shape = arguments[0].shape
        return arguments[0][:, self.columns]

    def put_back(self, module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> Tensor:
        return output.new_zeros(self.shape).index_copy(1, self.columns, output)


def _last_mlp(language_model: Any) -> nn.Module | None:
    last: Any = decoder_layers(language_model)[-1]
    # The backward pass would run it once more, without these hooks.
    recomputed = last.training and getattr(last, "gradient_checkpointing", False)
    mlp = getattr(last, "mlp", None)
    return mlp if isinstance(mlp, nn.Module) and not recomputed else None
