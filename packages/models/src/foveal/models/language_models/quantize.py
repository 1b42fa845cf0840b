"""Quantise a language model's decoder to 4 or 8 bits; everything else stays as it is."""

import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import nn

if TYPE_CHECKING:
    from foveal.models.language_models.quantized_linear import Linear4bit, Linear8bit

Kind = Literal["nf4", "nf4-dq", "int8"]
"""4-bit NormalFloat (arXiv 2305.14314), the same with double quantisation of its scales, or int8 (arXiv 2208.07339)."""

StoredKind = Literal[Kind, "fp4", "fp4-dq"]
"""How folders may be quantised: also in 4-bit floating point, the default of transformers' `load_in_4bit`."""
BLOCK, BLOCKS = 64, 256
"""Weights that share a scale in 4 bits, and scales that share a second one (QLoRA, arXiv 2305.14314, section 3)."""
OUTLIER = 6.0
"""Inputs above this are multiplied in 16 bits (LLM.int8(), arXiv 2208.07339, section 3.2)."""

UNASKED = {
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward",
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",
}
"""Logger -> the start of a message that it always logs on a CPU, where nobody can do anything about it."""


def quantize(language_model: nn.Module, kind: Kind) -> list[str]:
    """Quantise and freeze every linear layer inside the decoder layers, in place and on its device.

    Embeddings, norms, biases and the output layer keep their precision. The quantisation is recorded in transformers'
    format in the model's `config`, and in a folder that the model is saved to.

    Args:
        language_model: a causal language model of transformers.
        kind: type of quantisation.

    Returns:
        The names of the layers, 7 for every decoder layer of a LLaMA.

    Raises:
        ValueError: if `kind` is unknown, the model is already quantised, or its decoder layers hold matrices outside
            linear layers, which would stay as they are.
        ImportError: if bitsandbytes is not installed.
    """
    check_kind(kind)
    names = decoder_linears(language_model)
    for name in names:
        linear: Any = language_model.get_submodule(name)
        layer = empty_layer(linear, kind)
        layer.quantize_(linear.weight)
        replace(language_model, name, layer)
    record(language_model, kind)
    return names


def decoder_linears(language_model: Any) -> list[str]:
    """The names of all linear layers inside the decoder layers.

    Raises:
        ValueError: if there are no decoder layers, or as for `quantize`.
    """
    if known := recorded_kind(language_model.config):
        raise ValueError(f"the language model is quantised already, as {known}: quantising twice would add up errors")
    layers = getattr(language_model.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise ValueError(f"{type(language_model).__name__} has no list of decoder layers to quantise")
    names, matrices = [], []
    for name, module in modules_of_layers(language_model):
        if isinstance(module, nn.Linear):
            names.append(name)
        elif not _is_depthwise(module):
            own = module.named_parameters(recurse=False)
            matrices += [f"{name}.{leaf}" for leaf, weight in own if weight.ndim > 1]
    if matrices or not names or _unequal(layers):
        raise ValueError(
            f"{type(language_model).__name__} has {len(names)} linear layers and {len(matrices)} other matrices in "
            f"{len(layers)} decoder layers, such as {(matrices or names)[-3:]}: expected the same number of linear "
            "layers in each layer of a kind, and no other matrices"
        )
    return names


def _is_depthwise(module: nn.Module) -> bool:
    """Whether it is a convolution of single channels, which has a few weights for each (Qwen3.5's linear attention)."""
    return isinstance(module, nn.Conv1d) and module.groups == module.in_channels == module.out_channels


def _unequal(layers: nn.ModuleList) -> bool:
    """Whether decoder layers with the same modules differ in their number of linear layers."""
    numbers: dict[tuple[str, ...], set[int]] = {}
    for layer in layers:
        kinds = tuple(type(child).__name__ for child in layer.children())
        linears = sum(isinstance(module, nn.Linear) for module in layer.modules())
        numbers.setdefault(kinds, set()).add(linears)
    return any(len(of_kind) > 1 for of_kind in numbers.values())


def modules_of_layers(language_model: Any) -> Iterator[tuple[str, nn.Module]]:
    """All modules of the decoder layers with their names in the language model; none if it has no list of layers."""
    layers = getattr(language_model.get_decoder(), "layers", None)
    # By identity, so that no module elsewhere with the same last name is included.
    inside = {id(module) for module in layers.modules()} if isinstance(layers, nn.ModuleList) else set()
    return ((name, module) for name, module in language_model.named_modules() if id(module) in inside)


def quantized_layers(language_model: nn.Module) -> list[str]:
    """The names of the quantised layers.

    Raises:
        ImportError: if bitsandbytes is not installed.
    """
    import_bitsandbytes()
    from foveal.models.language_models.quantized_linear import Linear4bit, Linear8bit

    return [name for name, module in language_model.named_modules() if isinstance(module, Linear4bit | Linear8bit)]


def check_kind(kind: str) -> None:
    """Refuse a type of quantisation that cannot be asked for.

    Raises:
        ValueError: naming those that can.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"{kind!r} is not a type of quantisation; there are {', '.join(get_args(Kind))}")


def empty_layer(linear: nn.Linear, kind: StoredKind) -> "Linear4bit | Linear8bit":
    """A layer that can replace `linear` once it has been given a weight.

    Raises:
        ImportError: if bitsandbytes is not installed.
    """
    import_bitsandbytes()
    from foveal.models.language_models.quantized_linear import Linear4bit, Linear8bit

    plain, _, double = kind.partition("-")
    layer = Linear8bit(linear) if kind == "int8" else Linear4bit(linear, kind=plain, double=bool(double))
    layer.train(linear.training)
    return layer


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the submodule `name` of `model` by `layer`."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, layer)


def record(language_model: Any, kind: StoredKind) -> None:
    """Record the quantisation of the decoder in the model's `config`, and on the model itself, where LoRA reads it."""
    quantized = set(quantized_layers(language_model))
    linears = [name for name, module in language_model.named_modules() if isinstance(module, nn.Linear)]
    kept = [name for name in linears if name not in quantized]
    described: dict[str, Any] = {"quant_method": "bitsandbytes", "llm_int8_skip_modules": kept}
    if kind == "int8":
        described["load_in_8bit"] = language_model.is_loaded_in_8bit = True
    else:
        described["load_in_4bit"] = language_model.is_loaded_in_4bit = True
        plain, _, double = kind.partition("-")
        described["bnb_4bit_quant_type"] = plain
        described["bnb_4bit_use_double_quant"] = bool(double)
        described["bnb_4bit_compute_dtype"] = str(language_model.dtype).removeprefix("torch.")
    language_model.config.quantization_config = described


def recorded_kind(config: Any) -> StoredKind | None:
    """How a language model with this `config` is quantised; None: not at all, or by another library.

    Raises:
        ValueError: for a bitsandbytes quantisation that is not supported here.
    """
    described = getattr(config, "quantization_config", None) or {}
    if not isinstance(described, dict):
        described = described.to_dict()
    if described.get("quant_method") != "bitsandbytes":
        return None
    return described_kind(described, source="the language model")


def described_kind(described: Mapping[str, Any], *, source: str) -> StoredKind:
    """The type of a quantisation by bitsandbytes, from its description in a `config.json`.

    Raises:
        ValueError: naming a setting that is not supported here.
    """
    known: dict[str, object] = {"llm_int8_threshold": OUTLIER, "llm_int8_has_fp16_weight": False}
    if not described.get("load_in_8bit"):
        known = {"bnb_4bit_quant_storage": "uint8"}
    for key, value in known.items():
        if described.get(key, value) != value:
            raise ValueError(f"{source} is quantised with {key} {described[key]!r}, only {value!r} can be read")
    if described.get("load_in_8bit"):
        return "int8"
    plain, double = described.get("bnb_4bit_quant_type", "fp4"), described.get("bnb_4bit_use_double_quant")
    for kind in get_args(StoredKind):
        if kind == f"{plain}-dq" if double else kind == plain:
            found: StoredKind = kind
            return found
    raise ValueError(f"{source} is quantised with bnb_4bit_quant_type {plain!r}, only nf4 and fp4 can be read")


def refuse_training(language_model: Any) -> None:
    """Refuse to train all of a quantised language model.

    Raises:
        ValueError: if its decoder is quantised.
    """
    if kind := recorded_kind(language_model.config):
        raise ValueError(
            f"the language model is quantised as {kind}: its weights are integers, which have no gradients, and "
            "only norms and embeddings would learn; train LoRA on it, or load it without quantisation"
        )


def import_bitsandbytes() -> None:
    """Import bitsandbytes without its unsolicited messages, before anything else, such as peft, imports it.

    Raises:
        ImportError: if it is not installed.
    """
    for name in UNASKED:
        logging.getLogger(name).addFilter(_was_asked)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "quantising, or reading a quantised model, needs bitsandbytes: pip install 'foveal-models[quant]'"
        ) from error


def _was_asked(message: logging.LogRecord) -> bool:
    return not str(message.msg).startswith(UNASKED[message.name])
