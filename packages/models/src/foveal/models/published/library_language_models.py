"""Language models in the names that transformers' vision-language models have for them."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

MULTIPLE = 64
"""Token tables that have to grow are rounded up to multiples of this, as in the published folders."""


def odd_language_model(language_model: nn.Module) -> str:
    """Why a vision-language model of transformers cannot hold the language model; empty if it can."""
    model: Any = language_model
    text = model.config
    if getattr(text, "logits_scaling", 1) != 1 or getattr(text, "final_logit_softcapping", None):
        return f"the language model, a {text.model_type}, scales its logits, which a LLaVA of transformers does not"
    weights = model.state_dict()
    if odd := sorted(name for name in weights if not name.startswith(("model.", "lm_head."))):
        return f"the language model has tensors such as {odd[0]} (merge adapters first)"
    if "model.embed_tokens.weight" not in weights:
        return f"the language model, an {type(model).__name__}, has its embeddings elsewhere than a LLaMA"
    if any(not tensor.is_floating_point() for tensor in weights.values()):
        return "the language model is quantised"
    return ""


def library_language_model(language_model: nn.Module, tokens: int) -> tuple[dict[str, Tensor], Any]:
    """Its tensors under the names of transformers' vision-language models, and its configuration there.

    Args:
        language_model: a model for which `odd_language_model` returns an empty string.
        tokens: the tables get at least as many rows.
    """
    model: Any = language_model
    tables = {table.weight.data_ptr() for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    rows = len(model.get_input_embeddings().weight)
    wanted = rows if tokens <= rows else -(-tokens // MULTIPLE) * MULTIPLE
    renamed, grown = {}, dict[int, Tensor]()
    for name, tensor in language_model.state_dict().items():
        place = tensor.data_ptr()
        if place in tables and wanted > rows:
            # Tied tables stay tied.
            tensor = grown.setdefault(place, _longer(tensor, wanted))
        renamed[name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name] = tensor
    text = copy.deepcopy(model.config)
    text.vocab_size = wanted
    return renamed, text


def filled(built: Any, tensors: Mapping[str, Tensor], language_model: nn.Module) -> Any:
    """A vision-language model of transformers with these tensors, in evaluation mode.

    Args:
        built: on the meta device.
        tensors: all of its tensors.
        language_model: the one that it was made from, in whose dtype it is saved.
    """
    own: Any = language_model
    built.load_state_dict(tensors, strict=True, assign=True)
    built.tie_weights()
    built.config.dtype = own.get_input_embeddings().weight.dtype
    return built.eval()


def _longer(table: Tensor, rows: int) -> Tensor:
    """The table with `rows` rows; new rows are the mean of the existing ones."""
    mean = table.mean(dim=0, dtype=torch.float32).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])
