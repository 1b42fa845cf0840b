"""The logits of a batch of embedded prompts, without computing long padding on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.language_models.injection import Embedded, injected
from foveal.models.language_models.needed_columns import last_mlp_at
from foveal.models.language_models.packed_rows import attended
from foveal.models.language_models.rotary import growing_rotary

WASTE = 0.2
"""Share of padding above which a batch is split."""
ROWS = 8
"""Rows that are run together then."""


def logits_of(
    language_model: nn.Module,
    embedded: Embedded,
    attention_mask: Tensor | None,
    columns: Tensor | None,
    position_ids: Tensor | None,
) -> Tensor:
    """Logits of the next token; zero at padding, if rows of similar length are run together.

    Args:
        language_model: a causal language model of transformers.
        embedded: the prompts.
        attention_mask: [batch, tokens], True at real tokens; None: all are real.
        columns: [positions], the positions from 0 at which logits are computed; None: all.
        position_ids: as in `Batch`.

    Returns:
        [batch, tokens or positions, vocabulary]

    Raises:
        ValueError: if the language model cannot keep packed samples apart.
    """
    plain = position_ids is None and not embedded.stacks
    # Angles that depend on the longest row would depend on the group.
    fixed = growing_rotary(getattr(language_model, "config", None)) is None
    if attention_mask is not None and plain and fixed and _mostly_padding(attention_mask):
        return _by_length(language_model, embedded.embeddings, attention_mask, columns)
    return _run(language_model, embedded, attention_mask, columns, position_ids)


def _run(
    language_model: nn.Module,
    embedded: Embedded,
    attention_mask: Tensor | None,
    columns: Tensor | None,
    position_ids: Tensor | None = None,
) -> Tensor:
    embeddings = embedded.embeddings
    mask, positions = attended(language_model, embeddings, attention_mask, position_ids)
    with injected(language_model, embedded.stacks, len(embeddings)), last_mlp_at(language_model, columns):
        output: Any = language_model(
            inputs_embeds=embeddings,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=0 if columns is None else columns,
        )
    logits: Tensor = output.logits
    return logits


def _mostly_padding(mask: Tensor) -> bool:
    """Whether rows are better run by length: on a CPU, with much padding on the right.

    Ranks of one training must call the model equally often, as its weights may be sharded.
    """
    if mask.device.type != "cpu" or len(mask) <= ROWS:
        return False
    if not bool(mask[:, 0].all()) or bool((mask[:, 1:] > mask[:, :-1]).any()):
        return False
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    return alone and mask.float().mean().item() < 1 - WASTE


def _by_length(language_model: nn.Module, embeddings: Tensor, mask: Tensor, columns: Tensor | None) -> Tensor:
    lengths = mask.sum(dim=1)
    wanted = torch.arange(mask.shape[1]) if columns is None else columns
    found: list[Tensor] = []
    order = lengths.argsort(descending=True)
    for rows in order.split(ROWS):
        tokens = int(lengths[rows[0]])
        real = wanted < tokens
        part = Embedded(embeddings[rows, :tokens], ())
        logits = _run(language_model, part, mask[rows, :tokens], None if columns is None else wanted[real])
        zeros = logits.new_zeros(len(rows), len(wanted), logits.shape[-1])
        found.append(zeros.index_copy(1, real.nonzero().squeeze(1), logits))
    return torch.cat(found)[order.argsort()]
