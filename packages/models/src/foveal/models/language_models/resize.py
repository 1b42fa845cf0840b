"""Enlarge a language model's token and position tables."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def add_rows(model: Any, vocabulary: int, source: str) -> None:
    """Add token rows to the input embeddings and the output layer, which may be tied."""
    known = model.get_input_embeddings().weight.shape[0]
    if vocabulary < known:
        raise ValueError(f"{source} has {known} rows for tokens, a vocabulary of {vocabulary} would drop some of them")
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            table[known:] = table[:known].mean(dim=0, dtype=torch.float32)


def stretch_positions(model: Any, context: int, source: str) -> None:
    """Stretch OPT's position table [2 + tokens, width] for longer sequences; its first two rows are not positions.

    Vary-tiny (arXiv 2312.06109) states that the table was interpolated, but not how; here it is linear, from the first
    position to the last.
    """
    if model.config.model_type != "opt":
        raise ValueError(
            f"{source} is a {model.config.model_type}, which has no table of learned positions to stretch to a "
            f"context of {context}; only an OPT has one"
        )
    known = model.config.max_position_embeddings
    if context < known:
        raise ValueError(f"{source} has positions for {known} tokens, a context of {context} would be shorter")
    table = model.model.decoder.embed_positions
    old = table.weight.detach()
    places = old[table.offset :].double().T[None]
    stretched = F.interpolate(places, size=context, mode="linear", align_corners=True)[0].T
    table.weight = nn.Parameter(torch.cat([old[: table.offset], stretched.to(old.dtype)]))
    table.num_embeddings = len(table.weight)
    model.config.max_position_embeddings = context
