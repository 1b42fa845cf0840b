"""Prompts that are answered together, where others may join and leave at every token.

A batch that ends with its longest answer keeps everybody else waiting. Iteration-level scheduling (Orca, OSDI 2022,
section 3.1) decides at every token who is in the batch. Here the shorter of two caches is padded on the left, as the
prompts of one batch are; positions are those of each prompt alone, so that no answer depends on when it began.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from foveal.models.language_models.injection import Embedded, injected
from foveal.models.language_models.rotary import growing_rotary
from foveal.models.prompts.batch import position_ids


def alone(language_model: nn.Module) -> bool:
    """Whether each prompt must be read alone: beside a longer one, the angles of its positions would be others.

    LongRoPE has two sets of angles, and takes the second as soon as one position of the batch is beyond the length of
    the model's first training (arXiv 2402.13753). The other type whose angles grow, `dynamic`, begins where the context
    ends.
    """
    model: Any = language_model
    return growing_rotary(model.config) == "longrope"


def joins(language_model: nn.Module) -> bool:
    """Whether prompts may join a running batch: none must be read alone, and every layer keeps the keys and values of
    all tokens.

    A sliding window or a recurrent state has no place for padding that comes later.
    """
    if alone(language_model):
        return False
    model: Any = language_model
    layers = DynamicCache(config=model.config).layers
    # Without layers in its configuration, a cache makes plain ones as they are needed.
    return all(type(layer) is DynamicLayer for layer in layers)


class RunningBatch:
    """The cache of prompts that are being answered; use it in inference mode.

    Args:
        language_model: in evaluation mode.

    Attributes:
        joins: whether prompts may be added to others, and rows left out, see `joins`.
        alone: whether there should be one row only, see `alone`.
    """

    def __init__(self, language_model: Any) -> None:
        self.language_model, self.joins, self.alone = language_model, joins(language_model), alone(language_model)
        self._cache: Any = None
        self._mask: Tensor | None = None
        self._position: Tensor | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return 0 if self._mask is None else len(self._mask)

    @property
    def tokens(self) -> int:
        """Tokens of the cache of each row, with padding."""
        return 0 if self._mask is None else self._mask.shape[1]

    def add(self, prompt: Embedded, attention_mask: Tensor, positions: Tensor | None = None) -> Tensor:
        """Read prompts; they become the last rows.

        Args:
            prompt: [batch, tokens, width], padded on the left, and stacks.
            attention_mask: [batch, tokens], True at real tokens.
            positions: the prompts' positions on a grid, [3, batch, tokens]; None: counted in `attention_mask`.

        Returns:
            Logits [batch, vocabulary] for the first token of each answer.

        Raises:
            ValueError: if there are rows already, and prompts cannot join them.
        """
        if len(self) and not self.joins:
            raise ValueError(f"no prompt can join others in {type(self.language_model).__name__}: wait for their end")
        places = position_ids(attention_mask) if positions is None else positions
        cache = DynamicCache(config=self.language_model.config)
        with injected(self.language_model, prompt.stacks, len(attention_mask)):
            read = self.language_model(
                inputs_embeds=prompt.embeddings,
                attention_mask=attention_mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._join(read.past_key_values, attention_mask, places[..., -1:] + 1)
        logits: Tensor = read.logits[:, -1]
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Read one token of each row.

        Args:
            tokens: [rows], the last token of each answer.

        Returns:
            Logits [rows, vocabulary] for the next token.
        """
        mask, position = self._filled()
        self._mask = F.pad(mask, (0, 1), value=True)
        read = self.language_model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=position,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position = position + 1
        logits: Tensor = read.logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Leave out all other rows, and the padding that all remaining ones share; without any row, begin anew.

        Raises:
            ValueError: if some rows are to stay, and rows cannot be left out.
        """
        if len(rows) == len(self):
            return
        if not rows:
            self._cache = self._mask = self._position = None
            return
        if not self.joins:
            raise ValueError(f"no row can leave others in {type(self.language_model).__name__}: wait for their end")
        mask, position = self._filled()
        kept = torch.tensor(rows, device=mask.device)
        mask = mask[kept]
        shared = int(mask.any(dim=0).int().argmax())
        self._mask, self._position = mask[:, shared:], position.index_select(-2, kept)
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[kept][..., shared:, :], layer.values[kept][..., shared:, :]

    def _filled(self) -> tuple[Tensor, Tensor]:
        if self._mask is None or self._position is None:
            raise ValueError("the batch is empty: add prompts first")
        return self._mask, self._position

    def _join(self, cache: Any, mask: Tensor, position: Tensor) -> None:
        """Add rows, with the shorter of the two caches padded on the left."""
        if self._mask is None or self._position is None:
            self._cache, self._mask, self._position = cache, mask.bool(), position
            return
        length = max(self.tokens, mask.shape[1])
        here, there = length - self.tokens, length - mask.shape[1]
        self._mask = torch.cat([F.pad(self._mask, (here, 0)), F.pad(mask.bool(), (there, 0))])
        self._position = torch.cat([self._position, position], dim=-2)
        for ours, theirs in zip(self._cache.layers, cache.layers, strict=True):
            ours.keys = torch.cat([F.pad(ours.keys, (0, 0, here, 0)), F.pad(theirs.keys, (0, 0, there, 0))])
            ours.values = torch.cat([F.pad(ours.values, (0, 0, here, 0)), F.pad(theirs.values, (0, 0, there, 0))])
            # Freed at once: two caches in full and their copy would not fit.
            theirs.keys = theirs.values = None
