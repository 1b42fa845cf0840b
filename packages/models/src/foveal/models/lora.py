"""Low-rank adapters on a decoder's linear layers; the only module that uses peft."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.language_models.quantize import import_bitsandbytes, modules_of_layers, recorded_kind, replace
from foveal.models.model import VisionLanguageModel

ADAPTER = "default"
"""peft's name for the only adapter; it is part of the weights' names."""
BASE = ".base_layer"
"""peft's name for the layer inside of its own."""
FACTORS = (f".lora_A.{ADAPTER}.", f".lora_B.{ADAPTER}.")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """W x + (alpha / rank) B A dropout(x) instead of W x (arXiv 2106.09685, section 4.1); the defaults are LLaVA-1.5's.

    Attributes:
        rank: rows of A and columns of B.
        alpha: scale of the update, which is multiplied by alpha / rank.
        dropout: dropout rate of the input of A during training.

    Raises:
        ValueError: if the rank is below 1, alpha is not above 0, or the dropout is not in [0, 1).
    """

    rank: int = 128
    alpha: float = 256.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"{self}: the rank must be at least 1, alpha above 0, the dropout at least 0 and below 1")


def add_lora(model: VisionLanguageModel, lora: Lora, layers: Sequence[str] | None = None) -> list[str]:
    """Add adapters to linear layers of the decoder layers; freeze the encoder and the rest of the language model.

    The adapters add nothing at first, because B is zero. They are float32 whatever the dtype of the base, which may be
    quantised (QLoRA, arXiv 2305.14314). The connector and the merge are left as they are, to be trained in full.

    Args:
        model: its language model is changed in place.
        lora: the adapters' settings.
        layers: full names in the language model of the layers that get adapters; None: all linear layers of the decoder
            layers.

    Returns:
        The names of the adapted layers in the language model, by default 7 for every decoder layer of a LLaMA. Layers
        are chosen by their full names because the encoder has layers with the same last names.

    Raises:
        ValueError: if the language model already has adapters, has no decoder layers, or no linear layers in them, or
            `layers` names others.
        ImportError: if peft is not installed.
    """
    language_model = model.language_model
    if has_lora(language_model):
        raise ValueError("the language model has adapters already: merge them into it first (python -m recipes.merge)")
    names = _decoder_linears(language_model)
    if layers is not None:
        if unknown := sorted(set(layers) - set(names)):
            raise ValueError(
                f"{len(unknown)} adapters are for other layers than linear ones of the decoder, such as {names[0]}: "
                f"{unknown[:5]}"
            )
        names = [name for name in names if name in set(layers)]
    LoraConfig, inject = _import_peft()  # noqa: N806
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names, bias="none"
    )
    model.encoder.requires_grad_(False)
    language_model.requires_grad_(False)
    inject(settings, language_model, adapter_name=ADAPTER)
    # peft creates them in the dtype of the base; in 16 bits the small updates of a low learning rate would be lost.
    factors = {name: weight for name, weight in language_model.named_parameters() if _is_factor(name)}
    for weight in factors.values():
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    added = {name.split(".lora_")[0] for name in factors}
    if added != set(names):
        raise RuntimeError(f"adapters were added to the wrong layers, among them {sorted(added ^ set(names))[:5]}")
    return names


def has_lora(language_model: nn.Module) -> bool:
    """Whether the language model has adapters."""
    return any(_is_factor(name) for name, _ in language_model.named_parameters())


def lora_of(language_model: Any) -> Lora:
    """The settings of the language model's adapters.

    Raises:
        ValueError: if it has none.
    """
    if not has_lora(language_model):
        raise ValueError("the language model has no adapters")
    settings = language_model.peft_config[ADAPTER]
    return Lora(rank=settings.r, alpha=settings.lora_alpha, dropout=settings.lora_dropout)


def adapted_layers(language_model: nn.Module) -> list[str] | None:
    """The full names of the layers that have adapters; None: all linear layers of the decoder layers have."""
    linears = [name for name in _decoder_linears(language_model) if ".lora_" not in name]
    adapted = [name.removesuffix(BASE) for name in linears if name.endswith(BASE)]
    return None if len(adapted) == len(linears) else adapted


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Only the adapters of a state dict, as `LAYER.lora_A.weight` and `LAYER.lora_B.weight`."""
    return {name.replace(f".{ADAPTER}.", "."): weight for name, weight in state.items() if _is_factor(name)}


def base_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict without its adapters, under the names that the weights had before adapters were added."""
    return {name.replace(f"{BASE}.", "."): weight for name, weight in state.items() if not _is_factor(name)}


def fill_lora(language_model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy the tensors that `adapter_state` returned into adapters of the same sizes.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; the message names `source`, and nothing is
            copied.
    """
    own = adapter_state(dict(language_model.named_parameters()))
    faults = sorted(own.keys() ^ tensors.keys())
    faults += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if faults:
        raise ValueError(
            f"{source} does not fit the language model: {len(faults)} of {len(own)} tensors are missing, unexpected or "
            f"of another shape, among them {faults[:5]}"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(tensors[name])


def merge_lora(language_model: Any) -> None:
    """Add every adapter's scaled B A to the weight of its layer and remove the adapters.

    Raises:
        ValueError: if there are no adapters, the base is quantised (the sum would be rounded to 4 or 8 bits again,
            which would change answers), or a sum is not finite.
    """
    lora_of(language_model)
    if kind := recorded_kind(language_model.config):
        raise ValueError(f"the base is quantised as {kind}: rounding the sum changes the model; dequantise it first")
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in language_model.named_modules() if isinstance(module, LoraLayer)}
    for name, layer in layers.items():
        layer.merge(safe_merge=True)
        replace(language_model, name, layer.get_base_layer())
    del language_model.peft_config


def _decoder_linears(language_model: Any) -> list[str]:
    names = [name for name, module in modules_of_layers(language_model) if isinstance(module, nn.Linear)]
    if not names:
        raise ValueError(f"{type(language_model).__name__} has no linear layers in decoder layers to add adapters to")
    return names


def _is_factor(name: str) -> bool:
    return any(factor in name for factor in FACTORS)


def _import_peft() -> tuple[Any, Any]:
    if find_spec("bitsandbytes") is not None:
        # peft would import it anyway, whether or not the base is quantised; imported here, its output is suppressed.
        import_bitsandbytes()
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("LoRA needs peft: pip install 'foveal-models[lora]'") from error
    return LoraConfig, inject_adapter_in_model
