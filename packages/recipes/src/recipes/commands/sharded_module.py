"""The module of a configuration for a sharded run: at first only its shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from foveal.models.language_models.quantize import recorded_kind
from recipes.command_line.imports import allow_in
from recipes.module import Finetuning
from recipes.sharding import as_now


def with_source(module: Finetuning, settings: Mapping[str, Any]) -> Finetuning:
    """The module, on the meta device, with a source that builds it with weights; the whole one if it is quantised.

    What is quantised cannot be built as shapes, and is small: every rank reads it.

    Args:
        module: built from `settings` on the meta device.
        settings: arguments of `Finetuning`, as the command line has parsed them.
    """
    language_model: Any = module.network.language_model
    if _asks_for_quantization(settings) or recorded_kind(language_model.config):
        return instantiated(type(module), settings)
    module.source = as_now(lambda: instantiated(type(module), stored_dtypes(settings)))
    return module


def stored_dtypes(settings: Any) -> Any:
    """The same settings of a model, but weights that are read and turned into float32 stay as they were stored.

    They are as good a source: what is received is cast on the device, so that no host memory is needed for it.
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
    """The module that settings of `model` describe, as the command line builds it.

    Args:
        kind: of the module.
        settings: arguments of it.
        packages: from which a checkpoint may take classes, beside Foveal; None: those that the settings have, which
            were handed on to them already.

    Raises:
        ArgumentError: if they name what is not there or may not be imported.
        ImportsError: if they allow packages themselves.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "model")
    parsed = parser.parse_object({"model": dict(settings)})
    if packages is not None:
        allow_in(parsed, packages)
    module: Finetuning = parser.instantiate(parsed)["model"]
    return module
