"""Build a configuration's module for a sharded run, first as shapes only."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from foveal.models.language_models.quantize import recorded_kind
from recipes.command_line.imports import allow_in
from recipes.commands.named_objects import refuse_unmeant
from recipes.module import Finetuning
from recipes.sharding import as_now


def with_source(module: Finetuning, settings: Mapping[str, Any]) -> Finetuning:
    """Give a module a source that builds it with weights, and return it; if quantised, return the whole module.

    A quantised module cannot be built as shapes only, and is small: every rank reads all of it.

    Args:
        module: built from `settings` on the meta device.
        settings: arguments of `Finetuning`, as parsed.
    """
    language_model: Any = module.network.language_model
    if _asks_for_quantization(settings) or recorded_kind(language_model.config):
        return instantiated(type(module), settings)
    module.source = as_now(lambda: instantiated(type(module), stored_dtypes(settings)))
    return module


def stored_dtypes(settings: Any) -> Any:
    """A model's settings, changed so that weights to be converted to float32 are read in their stored dtype.

    They work equally well as a source: received weights are cast on the device, which needs no host memory.
    """
    if isinstance(settings, Mapping):
        reads = {"folder", "name_or_folder"} & settings.keys() and settings.get("dtype") == "float32"
        return {key: "auto" if reads and key == "dtype" else stored_dtypes(value) for key, value in settings.items()}
    return [stored_dtypes(each) for each in settings] if isinstance(settings, list) else settings


def _asks_for_quantization(settings: Any) -> bool:
    if isinstance(settings, Mapping):
        return bool(settings.get("quantize")) or any(map(_asks_for_quantization, settings.values()))
    return isinstance(settings, list) and any(map(_asks_for_quantization, settings))


def instantiated(
    kind: type[Finetuning], settings: Mapping[str, Any], *, packages: Sequence[str] | None = None
) -> Finetuning:
    """Build the module that `settings` describe, as the command line does with those under `model`.

    Args:
        kind: class of the module.
        settings: its arguments.
        packages: packages other than Foveal from which a checkpoint may import classes; None: those already in the
            settings.

    Raises:
        ArgumentError: if the settings name something that does not exist or may not be imported.
        ImportsError: if the settings themselves allow packages.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "model")
    parsed = parser.parse_object({"model": dict(settings)})
    if packages is not None:
        refuse_unmeant(parsed, packages)
        allow_in(parsed, packages)
    module: Finetuning = parser.instantiate(parsed)["model"]
    return module
