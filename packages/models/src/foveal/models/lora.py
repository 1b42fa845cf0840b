"""Low-rank adapters beside a decoder's linear layers; the one place that knows peft."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.language_models.quantize import import_bitsandbytes, modules_of_layers, recorded_kind, replace
from foveal.models.model import VisionLanguageModel

ADAPTER = "default"
"""What peft calls the only adapter; it is a part of the names of weights."""
FACTORS = (f".lora_A.{ADAPTER}.", f".lora_B.{ADAPTER}.")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """W x + (alpha / rank) B A dropout(x) instead of W x (arXiv 2106.09685, section 4.1); the defaults are LLaVA-1.5's.

    Attributes:
        rank: rows of A and columns of B.
        alpha: weight of what is added, in units of the rank.
        dropout: of what enters A while it is trained.

    Raises:
        ValueError: if the rank is below 1, alpha not above 0 or the dropout no share.
    """

    rank: int = 128
    alpha: float = 256.0
    dropout: float = 0.05

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"{self}: the rank is at least 1, alpha above 0, the dropout at least 0 and below 1")


def add_lora(model: VisionLanguageModel, lora: Lora) -> list[str]:
    """Put adapters beside all linear layers of the decoder layers; encoder and language model are frozen otherwise.

    At first they add nothing: B is zero. They are float32 whatever the base is, which may be quantised (QLoRA, arXiv
    2305.14314). The connector and the merge stay as they are, to be trained in full.

    Args:
        model: its language model is changed in place.
        lora: the adapters' sizes.

    Returns:
        The names of the layers in the language model, 7 for every decoder layer of a LLaMA. The encoder has layers of
        the same last names, which is why none is chosen by its last name.

    Raises:
        ValueError: if the language model has adapters already, no decoder layers, or no linear layers inside of them.
        ImportError: if peft is not installed.
    """
    language_model = model.language_model
    if has_lora(language_model):
        raise ValueError("the language model has adapters already: merge them into it first (python -m recipes.merge)")
    names = _decoder_linears(language_model)
    LoraConfig, inject = _import_peft()  # noqa: N806
    settings = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names, bias="none"
    )
    model.encoder.requires_grad_(False)
    language_model.requires_grad_(False)
    inject(settings, language_model, adapter_name=ADAPTER)
    # peft gives them the dtype of the base, and the steps of a low rate would be lost in 16 bits.
    factors = {name: weight for name, weight in language_model.named_parameters() if _is_factor(name)}
    for weight in factors.values():
        weight.data = weight.data.float()
        weight.requires_grad_(True)
    added = {name.split(".lora_")[0] for name in factors}
    if added != set(names):
        raise RuntimeError(f"adapters were put beside {sorted(added ^ set(names))[:5]}, other layers than asked for")
    return names


def has_lora(language_model: nn.Module) -> bool:
    """Whether it has adapters."""
    return any(_is_factor(name) for name, _ in language_model.named_parameters())


def lora_of(language_model: Any) -> Lora:
    """The sizes of its adapters.

    Raises:
        ValueError: if it has none.
    """
    if not has_lora(language_model):
        raise ValueError("the language model has no adapters")
    settings = language_model.peft_config[ADAPTER]
    return Lora(rank=settings.r, alpha=settings.lora_alpha, dropout=settings.lora_dropout)


def adapter_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a state dict the adapters alone, as `LAYER.lora_A.weight` and `LAYER.lora_B.weight`."""
    return {name.replace(f".{ADAPTER}.", "."): weight for name, weight in state.items() if _is_factor(name)}


def base_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a state dict all but the adapters, under the names that the weights had before there were any."""
    return {name.replace(".base_layer.", "."): weight for name, weight in state.items() if not _is_factor(name)}


def fill_lora(language_model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy what `adapter_state` gave into adapters of the same sizes.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; `source` is named. Nothing is copied then.
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
    """Add every adapter's B A to the weight that it stands beside, and take the adapters away.

    Raises:
        ValueError: if there are none, the base is quantised (the sum would be rounded to 4 or 8 bits again, and answers
            change), or a sum is not finite.
    """
    lora_of(language_model)
    if kind := recorded_kind(language_model.config):
        raise ValueError(f"the base is quantised as {kind}: a sum in so few bits is another model; dequantise it first")
    from peft.tuners.lora import LoraLayer

    layers = {name: module for name, module in language_model.named_modules() if isinstance(module, LoraLayer)}
    for name, layer in layers.items():
        layer.merge(safe_merge=True)
        replace(language_model, name, layer.get_base_layer())
    del language_model.peft_config


def _decoder_linears(language_model: Any) -> list[str]:
    names = [name for name, module in modules_of_layers(language_model) if isinstance(module, nn.Linear)]
    if not names:
        raise ValueError(f"{type(language_model).__name__} has no linear layers in decoder layers to put adapters to")
    return names


def _is_factor(name: str) -> bool:
    return any(factor in name for factor in FACTORS)


def _import_peft() -> tuple[Any, Any]:
    if find_spec("bitsandbytes") is not None:
        # Before peft does it, whether or not the base is quantised: only here it is kept from talking.
        import_bitsandbytes()
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError("for LoRA peft is needed: pip install foveal-recipes[lora]") from error
    return LoraConfig, inject_adapter_in_model
