"""Convert adapters of LLaVA's own code, or of peft, to an adapter folder of ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from foveal.core import read_tensors, whole_folder
from foveal.models import save
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.checkpoints.onto_base import open_onto, with_adapters
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.lora import base_state
from foveal.models.published.json_file import read_json
from foveal.models.published.peft_layout import (
    CONFIG,
    OTHERS,
    WEIGHTS,
    factors_of,
    layers_of,
    lora_settings,
    trained_in_full,
)
from recipes.commands.convert import read_pickled
from recipes.commands.source_files import Others, left_out_said

MODEL_CONFIG = "config.json"


def convert_adapter(
    source: Path, target: Path, *, base: str | None, encoder: str | None = None, allow: Sequence[str] = ()
) -> str:
    """Write what a training with LoRA writes: `target/adapter`, and `target/base` if the base is not used as it is.

    A new base is written if the given one is a language model alone, or more than connector and merge was trained in
    full.

    Args:
        source: folder with `adapter_config.json` and the weights of the adapters, and with `non_lora_trainables.bin`
            and `config.json` if LLaVA's code wrote it.
        target: new folder.
        base: the base that the adapters were trained on: anything `load` opens, or LLaVA's language model alone.
        encoder: folder or hub name of the image tower, for a base without one.
        allow: packages other than Foveal from which parts of the base may be imported.

    Returns:
        What was written, and what became of every file of `source`.

    Raises:
        ValueError: if `target` exists, there is no base, it does not fit, the adapters are of a kind that cannot be
            read, or there are other weights in `source`.
        ImportError: if peft is not installed.
    """
    if target.exists():
        raise ValueError(f"{target} exists: choose another folder")
    lora, trained_on = lora_settings(source)
    if base is None:
        raise ValueError(f"{source} holds adapters, trained on {trained_on}: give that model as --base FOLDER")
    config = _llavas_config(source)
    stored = {stem: _files(source, stem) for stem in (WEIGHTS, OTHERS)}
    if not stored[WEIGHTS]:
        raise ValueError(f"{source} has no {WEIGHTS}.safetensors or {WEIGHTS}.bin, the weights of the adapters")
    read = [CONFIG, *([] if config is None else [MODEL_CONFIG]), *(files[0] for files in stored.values() if files)]
    twins = {twin: f"{files[0]} is read" for files in stored.values() for twin in files[1:]}
    others = Others.of(source, {*read, *twins})
    if others.weights:
        raise ValueError(f"{source} has weights of unknown use besides the adapters: {', '.join(others.weights)}")
    unread = twins | others.left_out | dict.fromkeys(others.files, "not needed")

    weights = source / stored[WEIGHTS][0]
    factors = factors_of(_tensors(weights), lora.rank, source=str(weights))
    trained = trained_in_full(_tensors(source / stored[OTHERS][0])) if stored[OTHERS] else {}
    model, as_it_is = open_onto(base, config, trained, Overrides(encoder=encoder, allow=allow))
    with_adapters(model, lora, factors, source=str(source))
    with whole_folder(target) as partial:
        if not as_it_is:
            save(model, partial / "base", state=base_state(model.state_dict()))
        save_adapter(model, partial / "adapter", base=base if as_it_is else partial / "base")
    return (
        f"{target / 'adapter'}: adapters of rank {lora.rank} on {len(layers_of(factors))} layers, trained on "
        f"{trained_on}\nits base: {base if as_it_is else target / 'base'}\nread: {', '.join(read)}"
    ) + left_out_said(unread)


def _files(source: Path, stem: str) -> list[str]:
    """The files of that name, the one to be read first."""
    return [name for kind in ("safetensors", "bin") if (source / (name := f"{stem}.{kind}")).is_file()]


def _tensors(path: Path) -> dict[str, Tensor]:
    return read_tensors(path) if path.suffix == ".safetensors" else read_pickled(path)


def _llavas_config(source: Path) -> Mapping[str, Any] | None:
    """The model's configuration as LLaVA's code writes it beside the adapters; None if there is none."""
    path = source / MODEL_CONFIG
    if not path.is_file():
        return None
    config = read_json(path)
    return config if isinstance(config, dict) and "mm_vision_tower" in config else None
