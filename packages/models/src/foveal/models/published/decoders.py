"""Language models inside published checkpoints: read their configuration, and their weights tensor by tensor."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from foveal.core import Rename, check_fit
from foveal.models.language_models.causal import causal_class
from foveal.models.prompts.template_texts import TemplateName

NOT_THE_MODELS = {"model_type", "architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}


def config_of(family: str, fields: Mapping[str, Any]) -> Any:
    """transformers' configuration of a model of `family`, built from those of `fields` that it knows."""
    from transformers import AutoConfig

    known = (set(AutoConfig.for_model(family).to_dict()) | {"rope_theta", "rope_scaling"}) - NOT_THE_MODELS
    stated = {name: value for name, value in fields.items() if name in known}
    if stated.get("rope_scaling") is None:
        stated.pop("rope_scaling", None)
    return AutoConfig.for_model(family, **stated)


def longest(config: Mapping[str, Any], language_model: Any) -> int:
    """The longest sequence in tokens that a folder's `config` allows, within the language model's context."""
    context: int = language_model.max_position_embeddings
    return min(config.get("tokenizer_model_max_length") or context, context)


def empty(config: Any, dtype: torch.dtype) -> nn.Module:
    """The causal language model of `config` with uninitialised weights.

    It is not built on the meta device, because buffers (tables of rotary positions) would then be missing.
    """
    from transformers.initialization import no_init_weights

    with no_init_weights():
        built: Any = causal_class(config).from_config(config, dtype=dtype, trust_remote_code=False)
    built.tie_weights()
    model: nn.Module = built
    return model


def check_depth(config: Any, names: Iterable[str], *, source: str) -> None:
    """Refuse a configuration with more decoder layers than there are tensors for, before any layer is built.

    Args:
        config: transformers' configuration of the language model.
        names: its tensors, under its own names.
        source: named in the error.

    Raises:
        ValueError: naming both numbers.
    """
    numbers = [int(found[1]) for name in names if (found := re.search(r"\.layers\.(\d+)\.", name))]
    wanted = getattr(config, "num_hidden_layers", None)
    if numbers and isinstance(wanted, int) and wanted > max(numbers) + 1:
        raise ValueError(
            f"{source}: config.json has num_hidden_layers {wanted}, there are tensors of {max(numbers) + 1} layers"
        )


def check_shapes(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], rename: Rename, *, source: str) -> None:
    """Refuse tensors whose names or shapes do not fit `module`, before any is read.

    A tensor that is tied to another one may be missing.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; `source` and the names are in the message.
    """
    given = rename({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    expected = module.state_dict()
    there = {expected[name].data_ptr() for name in given if name in expected}
    tied = {name for name, tensor in expected.items() if tensor.data_ptr() in there}
    check_fit(module, given, source=source, may_miss=tied)


@torch.no_grad()
def fill(module: nn.Module, tensors: Iterable[tuple[str, Tensor]], rename: Rename, *, source: str) -> None:
    """Copy `tensors` into `module`, one at a time; `check_shapes` has checked that they fit.

    Raises:
        ValueError: if two tensors that are tied in the module differ.
    """
    expected, filled = module.state_dict(), dict[int, str]()
    for published, tensor in tensors:
        for name, value in rename({published: tensor}).items():
            place = expected[name]
            twin = filled.setdefault(place.data_ptr(), name)
            if twin == name:
                place.copy_(value)
            elif not torch.equal(place, value.to(place.dtype)):
                raise ValueError(f"{source}: {name} and {twin} are tied in {type(module).__name__}, but differ")


def prompt_of(
    family: str, tokenizer: PreTrainedTokenizerBase, *, has_tiles: bool, source: str
) -> tuple[TemplateName, str | None]:
    """The prompt template and system text that LLaVAs with such a language model were trained with.

    Args:
        family: transformers' `model_type` of the language model.
        tokenizer: tells apart models of the same family.
        has_tiles: whether the model is a LLaVA-NeXT.
        source: named in errors.

    Raises:
        ValueError: if they are not known.
    """
    known = tokenizer.get_added_vocab()
    if family == "llama" and "<|start_header_id|>" in known:
        return "llava_llama_3" if has_tiles else "llama_3", None
    if family == "llama" and "<|im_start|>" in known:
        # LLaVA-1.6 34B (`chatml_direct`): ChatML whose turns end without a newline, like Vary's.
        return "vary", "Answer the questions."
    if family == "qwen3_vl_text" and "<think>" in str(tokenizer.chat_template).rpartition("add_generation_prompt")[2]:
        raise ValueError(
            f"{source}: a thinking edition, whose prompts open <think> before the answer, as no template here does: "
            "pass `template` to ask it without"
        )
    templates: dict[str, tuple[TemplateName, str | None]] = {
        "llama": ("vicuna_v1", None),
        "mistral": ("mistral_instruct", None),
        "qwen2": ("chatml", None),
        "phi3": ("phi3", None),
        "granite": ("granite_vision", None),
        "qwen3_vl_text": ("qwen3_vl", None),
    }
    if family not in templates:
        raise ValueError(
            f"{source}: the prompts that a {family} was trained with are not known: pass `template`, such as chat"
        )
    return templates[family]
