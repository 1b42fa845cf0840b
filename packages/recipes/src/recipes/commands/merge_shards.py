"""Write a training state, from any number of ranks, and the frozen weights of its run as a checkpoint."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import seed_everything
from lightning.pytorch.plugins.precision import DoublePrecision

from foveal.limited_yaml import read_yaml
from foveal.models import VisionLanguageModel
from foveal.models.checkpoints.adapter import is_adapter
from foveal.models.checkpoints.folder import is_checkpoint
from recipes.command_line.arguments import ALLOWED_IMPORTS
from recipes.command_line.console import calm, short_errors
from recipes.command_line.imports import ImportsError
from recipes.commands.explanation import shortened
from recipes.commands.parser_limits import limit_parser
from recipes.commands.sharded_module import instantiated
from recipes.module import Finetuning
from recipes.run.folder import CONFIG, run_of
from recipes.run.saving import base_of_training, checkpoint_of, save_trained
from recipes.states.contents import fill_network, frozen_sum
from recipes.states.folder import StateError, find_state
from recipes.states.ranks import Ranks
from recipes.states.stored import StoredState
from recipes.trainer.half_precision import HalfWeights

LONGEST_REASON = 400
"""Most characters of the parser's message that are shown: it may list every setting."""
CASTS: dict[str, Callable[[], Any]] = {"bf16-true": lambda: HalfWeights("bf16-true"), "64-true": DoublePrecision}
"""Precisions that change the dtype of the weights from that of the model as configured."""


def main(options: argparse.Namespace) -> None:
    """Write the checkpoint, and print where it is.

    Args:
        options: as `merge_shards_options` returns them.

    Raises:
        SystemExit: with 1 for a state that cannot be used, or a folder that cannot be written.
    """
    calm()
    with short_errors():
        for name, path in merge(options.state, options.output, allow=options.allow_import).items():
            print(f"{name}: {os.path.relpath(path)}")


def merge(state: str | Path, output: Path | None = None, *, allow: list[str] | None = None) -> dict[str, Path]:
    """Write the model of a training state as a checkpoint; with LoRA as adapters and their base.

    Memory holds one copy of the model, and nothing of the optimizer.

    Args:
        state: a training state, or a run, whose newest state is used.
        output: folder for the checkpoint or the adapters: new, empty, or already of the same kind, which is replaced.
            If the run built its model from parts, the base of the adapters is written next to it, as OUTPUT-base.
            None: `checkpoint-step-NNNNNNNN` in the run's folder.
        allow: packages that the run's configuration may import besides ours.

    Returns:
        The folders by content: `checkpoint`, or `adapter` and possibly `base`.

    Raises:
        StateError: if there is no state, it is damaged, or the run's frozen weights are no longer available.
        ValueError: if the run's configuration is missing or builds no model, or `output` holds something else.
    """
    found = find_state(state)
    stored = StoredState(found)
    run = run_of(found)
    if run is None:
        missing = found.resolve().parent.parent / CONFIG
        raise ValueError(f"{found} is not in the folder of a run: there is no {missing}, which says what the model is")
    config = read_config(run / CONFIG)
    target = run / f"checkpoint-{found.resolve().name}" if output is None else output
    own_base = target.with_name(f"{target.name}-base")
    start = checkpoint_of(config["model"]["network"])
    with_lora = config["model"].get("lora") is not None or (start is not None and is_adapter(start))
    _check_free(target, is_adapter if with_lora else is_checkpoint)
    if with_lora:
        _check_free(own_base, is_checkpoint)
    stored.verify(Ranks())
    stored.check_complete()
    limit_parser([*ALLOWED_IMPORTS, *(allow or [])])
    network = network_of(stored, config, run / CONFIG, packages=allow or [])
    base = base_of_training(config["model"]["network"])
    return save_trained(network, checkpoint=target, adapter=target, own_base=own_base, base=base)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration that a run has saved.

    Raises:
        ValueError: if it is missing, or is not the configuration of a training.
    """
    if not path.is_file():
        raise ValueError(
            f"there is no {path}: a state holds only trained weights, and its run's configuration tells how to build "
            "the rest; put the state back into the folder of its run"
        )
    config = read_yaml(path)
    network = config.get("model", {}).get("network") if isinstance(config, dict) else None
    if not isinstance(network, dict) or "class_path" not in network:
        raise ValueError(f"{path} is not a training configuration: it has no model.network with a class_path")
    result: dict[str, Any] = config
    return result


def network_of(
    stored: StoredState, config: Mapping[str, Any], path: Path, *, packages: Sequence[str] = ()
) -> VisionLanguageModel:
    """The model as the run built it, with the weights of its state.

    Args:
        stored: the state.
        config: of its run.
        path: of the configuration, for messages.
        packages: packages from which a checkpoint that the configuration opens may import classes.

    Raises:
        StateError: if the frozen weights are not those of the run, or other weights were trained.
        ValueError: if the configuration builds no model.
    """
    if (seed := config.get("seed_everything")) is not None and seed is not False:
        seed_everything(seed, verbose=False)
    module = _instantiated(config["model"], path, packages)
    if (cast := CASTS.get(stored.manifest["precision"])) is not None:
        cast().convert_module(module)
    fill_network(module.network, stored)
    if stored.manifest["frozen"] != frozen_sum(module.network, Ranks()):
        raise StateError(
            f"{stored.folder}: the frozen weights that {path} describes are not those with which the state was "
            "written: one of their files has changed, or this machine generates other random numbers"
        )
    return module.network


def _instantiated(settings: Mapping[str, Any], path: Path, packages: Sequence[str]) -> Finetuning:
    try:
        return instantiated(Finetuning, settings, packages=packages)
    except ImportsError as error:
        raise ValueError(f"{path}: {error}") from error
    except ArgumentError as error:
        reason, denied, _ = shortened(str(error)).partition(" Add the import path to import_path_allowlist")
        advice = "add --allow_import PACKAGE if you trust it" if denied else "was it written by another version?"
        raise ValueError(f"{path}: {reason[:LONGEST_REASON]}\n{advice}") from error


def _check_free(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Refuse a folder that must not be replaced, before anything is read.

    Raises:
        ValueError: if it holds something other than what is written into it.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_ours(folder)):
        raise ValueError(f"{folder} exists and holds something else: choose another folder")
