"""Refuse unsupported strategies and precisions before anything is read."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from lightning.pytorch.callbacks import ModelCheckpoint, StochasticWeightAveraging, WeightAveraging

from recipes.sharding.strategy import is_sharded

SHORT = {"16": "16-mixed", "bf16": "bf16-mixed", "32": "32-true", "64": "64-true"}


def check_supported(trainer: Mapping[str, Any]) -> None:
    """Refuse a training that would stop at its first batch, or silently go wrong.

    Args:
        trainer: the Trainer's settings, as parsed.

    Raises:
        ValueError: with what to use instead.
    """
    strategy, precision = strategy_name(trainer), precision_of(trainer)
    if strategy.startswith(("fsdp", "FSDP")):
        raise ValueError(
            f"strategy {strategy} is torch's FSDP1, which gathers the whole model at once and rounds rotary angles: "
            "give --config scale/fsdp.yaml, which is FSDP2, instead of --trainer.strategy"
        )
    if strategy.startswith(("model_parallel", "ModelParallel")):
        raise ValueError(
            f"strategy {strategy} leaves sharding to the model: give --config scale/fsdp.yaml instead of "
            "--trainer.strategy"
        )
    if strategy.startswith(("deepspeed", "DeepSpeed")):
        raise ValueError(
            f"strategy {strategy}: DeepSpeed keeps gradients where they cannot be divided by the step's tokens, so "
            "losses would be weighted wrongly: give --config scale/fsdp.yaml, which shards like ZeRO-3"
        )
    if precision == "16-true":
        raise ValueError(
            "precision 16-true: in float16 AdamW's epsilon (1e-8) is 0, and weights become nan in the first step: "
            "use bf16-true, or 16-mixed on GPUs without bfloat16"
        )
    if precision == "16-mixed" and is_sharded(trainer["strategy"]):
        raise ValueError(
            "precision 16-mixed scales losses, and no scaler supports sharded gradients: use bf16-mixed, or ddp"
        )
    if precision == "16-mixed" and not on_gpu(trainer):
        raise ValueError("precision 16-mixed needs a GPU: use bf16-mixed or 32-true on a CPU")
    for name, callback in callback_classes(trainer).items():
        if issubclass(callback, ModelCheckpoint):
            raise ValueError(
                f"trainer.callbacks has {name}, whose states do not resume exactly: leave it out; "
                "--states.every_steps and --states.keep set how often states are written, and recipes.merge_shards "
                "turns any of them into a checkpoint"
            )
        if issubclass(callback, WeightAveraging | StochasticWeightAveraging):
            raise ValueError(
                f"trainer.callbacks has {name}, which exchanges the weights during validations: a state would hold the "
                "averages as if they were trained, and the checkpoint other weights than those measured: leave it out"
            )


def on_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether the training runs on GPUs of this machine."""
    return trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def callback_classes(trainer: Mapping[str, Any]) -> dict[str, type]:
    """The classes of the configured callbacks, by their paths; the parser has imported them."""
    callbacks = trainer.get("callbacks") or []
    paths = [each["class_path"] for each in (callbacks if isinstance(callbacks, list) else [callbacks])]
    found = {path: getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in paths}
    return {path: each for path, each in found.items() if isinstance(each, type)}


def strategy_name(trainer: Mapping[str, Any]) -> str:
    """Lightning's name of the strategy, or its class name."""
    strategy = trainer["strategy"]
    return strategy["class_path"].rpartition(".")[2] if isinstance(strategy, Mapping) else str(strategy)


def precision_of(trainer: Mapping[str, Any]) -> str:
    """The precision by its full name; Lightning also takes `bf16` and `16`."""
    precision = "32-true" if trainer["precision"] is None else str(trainer["precision"])
    return SHORT.get(precision, precision)
