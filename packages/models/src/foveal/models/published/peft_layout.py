"""Adapter folders of peft and of LLaVA's own code, which trains with peft.

adapter_config.json                        settings
adapter_model.safetensors or .bin          factors of the adapters
non_lora_trainables.safetensors or .bin    only LLaVA's: what was trained in full, the projector
config.json                                only LLaVA's: the model's configuration
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from foveal.models.lora import Lora
from foveal.models.published.json_file import read_settings

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model"
OTHERS = "non_lora_trainables"
PREFIX = "base_model.model."
FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")
INSIDE = {"model.language_model.": "model.", "language_model.model.": "model."}
"""Prefixes of the language model in transformers' LLaVA, now and before -> in a language model alone."""

READ = {"peft_type", "base_model_name_or_path", "bias", "r", "lora_alpha", "lora_dropout", "use_rslora"}
OF_TRAINING = {
    *("auto_mapping", "peft_version", "revision", "task_type", "inference_mode", "runtime_config"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"),
    *("megatron_core", "qalora_group_size", "ensure_weight_tying"),
}
"""Settings that do not change what trained adapters compute: the names of the weights tell which layers have them."""
KEEP_THE_BASE = (True, False, None, "gaussian", "orthogonal", "eva")
"""Initial values that leave the base's weights as they are; others move a part of them into the adapters."""


def is_foreign_adapter(folder: str | Path) -> bool:
    """Whether the folder holds adapters that peft wrote."""
    return (Path(folder) / CONFIG).is_file()


def convert_first(folder: str | Path) -> str:
    """The message for a folder of peft's where a model is expected."""
    described = read_settings(Path(folder) / CONFIG)
    return (
        f"{folder} holds adapters of peft, trained on {described.get('base_model_name_or_path')}: convert them first, "
        f"with their base: python -m recipes.convert {folder} NEW_FOLDER --base BASE"
    )


def lora_settings(folder: Path) -> tuple[Lora, str | None]:
    """The settings of the adapters in a folder, and the name of the base that they were trained on.

    With `use_rslora` the factor is alpha / sqrt(rank) (arXiv 2312.03732); ours is alpha / rank, so alpha is changed.

    Raises:
        ValueError: if the file is damaged, or has a setting that our adapters cannot have; the message names it.
    """
    path = folder / CONFIG
    described = read_settings(path)
    if described.get("peft_type") != "LORA":
        raise ValueError(f"{path}: peft_type is {described.get('peft_type')!r}, only LORA can be read")
    if described.get("bias", "none") != "none":
        raise ValueError(f"{path}: bias is {described['bias']!r}, only 'none' can be read")
    if described.get("init_lora_weights", True) not in KEEP_THE_BASE:
        raise ValueError(
            f"{path}: init_lora_weights is {described['init_lora_weights']!r}, which changes the base as well: convert "
            "the adapters with peft to ordinary ones first"
        )
    if unknown := {key: value for key, value in described.items() if value and key not in READ | OF_TRAINING}:
        key = min(unknown)
        raise ValueError(f"{path}: {key} is {unknown[key]!r:.60}, adapters of this kind cannot be read")
    try:
        rank, alpha = int(described["r"]), float(described["lora_alpha"])
        if described.get("use_rslora"):
            alpha *= rank**0.5
        lora = Lora(rank=rank, alpha=alpha, dropout=float(described.get("lora_dropout", 0.0)))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not give r, lora_alpha and lora_dropout ({error!r})") from error
    return lora, described.get("base_model_name_or_path")


def factors_of(tensors: Mapping[str, Tensor], rank: int, *, source: str) -> dict[str, Tensor]:
    """The factors as `LAYER.lora_A.weight` and `LAYER.lora_B.weight`, by the layers' names in the language model.

    Args:
        tensors: by peft's names, such as `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`.
        rank: rows of A, columns of B.
        source: named in errors.

    Raises:
        ValueError: if a tensor is no factor (as with `modules_to_save`, or a vocabulary that was enlarged), has another
            rank, or its partner is missing; the message has the names.
    """
    if other := sorted(name for name in tensors if not FACTOR.fullmatch(name) or not name.startswith(PREFIX)):
        raise ValueError(
            f"{source}: {len(other)} tensors are no factors of adapters on linear layers, among them {other[:3]}"
        )
    factors = {}
    for name, tensor in tensors.items():
        inside = name.removeprefix(PREFIX)
        before = next((each for each in INSIDE if inside.startswith(each)), "")
        factors[INSIDE.get(before, "") + inside.removeprefix(before)] = tensor
        if tensor.ndim != 2 or tensor.shape[0 if ".lora_A." in name else 1] != rank:
            raise ValueError(f"{source}: {name} is {tuple(tensor.shape)}, which is not of rank {rank}")
    letters = {"A": "B", "B": "A"}
    for name in factors:
        layer, letter = FACTOR.fullmatch(name).groups()  # type: ignore[union-attr]  # checked above
        if f"{layer}.lora_{letters[letter]}.weight" not in factors:
            raise ValueError(f"{source}: {layer} has a factor {letter}, but no {letters[letter]}")
    return factors


def layers_of(factors: Mapping[str, Tensor]) -> list[str]:
    """The layers that `factors` belong to."""
    return sorted({name.partition(".lora_")[0] for name in factors})


def trained_in_full(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `non_lora_trainables` under the names that LLaVA's checkpoints have, without peft's prefix."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
