"""Check whether a training fits on its GPU, before the model's weights are read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from foveal.core import Size
from recipes.estimates.room import as_stored, refuse_if_too_large
from recipes.estimates.shapes import quantization, shapes_of
from recipes.module import Finetuning
from recipes.optimization.groups import Rates
from recipes.sharding import is_sharded
from recipes.trainer.supported import on_gpu

if TYPE_CHECKING:
    from foveal.models.estimates.memory import Memory

PICTURE, TEXT = Size(672, 672), 64
"""Pixels and text tokens of the samples assumed in the estimate: the data is not read."""
COMPUTED_IN = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
STORED_IN = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


def check_room_to_fit(settings: Mapping[str, Any], *, free: int | None) -> None:
    """Refuse a training that does not fit even with modest samples of one picture and a few words.

    Args:
        settings: `model`, `trainer` and `data`, as parsed.
        free: `free_bytes` of a device.

    Raises:
        ValueError: if it does not fit, or the model cannot be built.
    """
    if free is None:
        return
    refuse_if_too_large(
        memory_to_fit(settings, [PICTURE], text=TEXT),
        free,
        what=f"training on batches of {batch_size(settings['data'])} samples of {PICTURE} pixels",
        advice="a smaller --data.batch_size, --model.language_model_checkpointing=true, LoRA or more devices need less",
    )


def memory_to_fit(settings: Mapping[str, Any], pictures: Sequence[Size], *, text: int) -> "Memory":
    """Memory of one device in the configured training.

    Args:
        settings: `model`, `trainer` and `data`, as parsed.
        pictures: sizes of the pictures of each sample.
        text: text tokens of each sample.

    Raises:
        ValueError: if the model cannot be built, or cannot take such pictures.
    """
    from foveal.models.estimates.memory import fitting  # fake tensors take a second to import

    trainer = settings["trainer"]
    tuned = shapes_of(Finetuning, settings["model"]).built
    muon = hidden_names(tuned.rates) if tuned.optimizer == "muon" else []
    network = as_stored(tuned.network, quantization(settings["model"]["network"]))
    precision = str(trainer["precision"])
    if precision in STORED_IN:
        network.to(STORED_IN[precision])
    return fitting(
        network,
        pictures,
        text=text,
        batch=batch_size(settings["data"]),
        mixed=COMPUTED_IN.get(precision),
        accumulated=trainer["accumulate_grad_batches"] > 1,
        muon=muon,
        ranks=ranks_of(trainer),
    )


def batch_size(data: Mapping[str, Any]) -> int:
    """Batch size per device, from the settings of a data module; 1 if not set."""
    size: int | None = (data.get("init_args") or {}).get("batch_size")
    return size or 1


def hidden_names(rates: Rates) -> list[str]:
    """Names of the weights that Muon would train."""
    hidden = rates.groups(weight_decay=0.0, muon=True)["hidden"]
    own = {id(weight) for group in hidden for weight in group["params"]}
    return [name for name, weight in rates.network.named_parameters() if id(weight) in own]


def device_to_fit(trainer: Mapping[str, Any]) -> torch.device:
    """The device of the first rank of a Trainer with these settings."""
    return torch.device("cuda" if on_gpu(trainer) else "cpu")


def ranks_of(trainer: Mapping[str, Any]) -> int:
    """Number of devices across which the strategy shards one copy of the model."""
    strategy, devices = trainer["strategy"], trainer["devices"]
    if not is_sharded(strategy):
        return 1
    number = len(devices) if isinstance(devices, list) else devices
    nodes: int = trainer["num_nodes"]
    ranks = nodes * (max(1, torch.cuda.device_count()) if number in ("auto", -1, "-1") else int(number))
    size: int | None = (strategy.get("init_args") or {}).get("shard_size")
    return min(size or ranks, ranks)
