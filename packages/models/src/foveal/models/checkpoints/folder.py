"""A model as a folder: one safetensors file or folder per part, and a file that describes how to assemble them.

config.yaml                 encoder, connector, plan, merge (class and arguments), template, system text, max_length
encoder.safetensors
connector.safetensors
merge.safetensors           only if the model has a merge
language_model/             in transformers' layout, for other tools; its config.json says how it is quantised
tokenizer/
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

from foveal.connectors import Connector
from foveal.core import StoredTensors, build, check_fit, check_values, describe, load_exact, read_tensors, whole_folder
from foveal.encoders import Encoder
from foveal.encoders.hub import only_shapes
from foveal.limited_yaml import read_yaml
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.checkpoints.settings import SETTINGS
from foveal.models.checkpoints.tokenizer import TOKENIZER_FORMAT, open_tokenizer
from foveal.models.foreign_code import refuse_auto_map
from foveal.models.language_models.build import pretrained_language_model
from foveal.models.lora import has_lora
from foveal.models.merges.merge import Merge
from foveal.models.model import VisionLanguageModel
from foveal.models.on_meta import built_on_meta
from foveal.models.prompts.processor import Processor
from foveal.models.views.named import chosen_plan
from foveal.models.views.plan import ViewPlan

CONFIG = "config.yaml"
FORMAT = 1
OPTIONAL = {"merge", "overlong", "tokenizer_format"}


def save(model: VisionLanguageModel, folder: str | Path, *, state: Mapping[str, Tensor] | None = None) -> Path:
    """Write `model` into `folder`, which is afterwards either complete or unchanged.

    Args:
        model: any model; parts from other packages are written too, and `load` needs those packages in `allow`.
        folder: new, empty, or a checkpoint, which is replaced.
        state: the weights by their names in `model`, for a model that holds only shards of them.

    Raises:
        ValueError: if `folder` exists and is not a checkpoint, or the model has adapters.
    """
    target = Path(folder).resolve()
    if target.exists() and any(target.iterdir()) and not is_checkpoint(target):
        raise ValueError(f"{target} exists and is not a checkpoint: choose another folder")
    if state is None and has_lora(model.language_model):
        raise ValueError("the model has adapters: save them with save_adapter, or merge them first with merge_lora")
    whole = model.state_dict() if state is None else state

    with whole_folder(target) as partial:
        described = described_parts(model)
        for name in described:
            save_file(
                {key: tensor.contiguous() for key, tensor in part_of(whole, name).items()},
                partial / f"{name}.safetensors",
            )
        weights = {} if state is None else {"state_dict": part_of(whole, "language_model")}
        model.language_model.save_pretrained(partial / "language_model", **weights)
        model.processor.tokenizer.save_pretrained(partial / "tokenizer")
        written = {
            "format": FORMAT,
            "tokenizer_format": TOKENIZER_FORMAT,
            **described,
            **described_prompts(model.processor),
        }
        (partial / CONFIG).write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return target


def is_checkpoint(folder: str | Path) -> bool:
    """Whether `save` wrote the folder."""
    try:
        _read_config(Path(folder))
    except ValueError:
        return False
    return True


def open_checkpoint(folder: str | Path, overrides: Overrides) -> VisionLanguageModel:
    """Open a folder that `save` wrote; errors are those of `foveal.models.load`."""
    source = Path(folder)
    config = _read_config(source)
    allowed = ("foveal", *overrides.allow)
    tower, connector = (_read_part(source, config, part, allowed) for part in ("encoder", "connector"))
    merge = _read_part(source, config, "merge", allowed) if "merge" in config else None
    if (
        not isinstance(tower, Encoder)
        or not isinstance(connector, Connector)
        or not (merge is None or isinstance(merge, Merge))
    ):
        raise ValueError(f"{source / CONFIG}: 'encoder', 'connector' or 'merge' describes something else")
    tokenizer = open_tokenizer(Path(_existing(source / "tokenizer")), config.get("tokenizer_format", 1))
    model = VisionLanguageModel(
        tower,
        lambda _in_width, _out_width: connector,
        pretrained_language_model(
            _existing(source / "language_model"), dtype=overrides.dtype, quantize=overrides.quantize
        ),
        tokenizer,
        chosen_plan(overrides.plan, lambda: built(config, "plan", source / CONFIG, allow=allowed)),
        merge=None if merge is None else lambda _width: merge,
        template=overrides.template if overrides.template is not None else config["template"],
        system=config["system"] if overrides.template is None else None,
        max_length=overrides.max_length if overrides.max_length is not None else config["max_length"],
        overlong=overrides.overlong if overrides.overlong is not None else config.get("overlong", "raise"),
        attention=overrides.attention,
    )
    if overrides.dtype != "auto":
        # Not the language model: it already has its dtype, except for rotary angles and quantised weights, which must
        # stay as they are.
        for part in (model.encoder, model.connector, model.merge):
            if part is not None:
                part.to(getattr(torch, overrides.dtype))
    return model.eval()


def built(config: Mapping[str, Any], part: str, source: Path, *, allow: Sequence[str]) -> Any:
    """Build the part that a file describes.

    Raises:
        ValueError: as for `foveal.core.build`, or if the class cannot be built with its arguments; the message names
            the file.
    """
    try:
        found = build(config[part], allow=allow)
    except ValueError as error:
        raise ValueError(f"{source}: the {part} {error}") from error
    except (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError) as error:
        # What constructors raise for sizes that do not go together, such as no heads at all.
        raise ValueError(f"{source}: the {part} cannot be built ({type(error).__name__}: {error!s:.200})") from error
    if part == "plan" and not isinstance(found, ViewPlan):
        raise ValueError(f"{source}: the plan is a {type(found).__name__}, not a ViewPlan")
    return found


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of one part, by their names in the part."""
    return {name.removeprefix(f"{part}."): weight for name, weight in state.items() if name.startswith(f"{part}.")}


def described_parts(model: VisionLanguageModel) -> dict[str, Any]:
    """The encoder, the connector and the merge in plain values, by name.

    Raises:
        ValueError: if a part does not keep an argument of its constructor as an attribute.
    """
    parts = {"encoder": model.encoder, "connector": model.connector, "merge": model.merge}
    return {name: describe(part) for name, part in parts.items() if part is not None}


def described_prompts(processor: Processor) -> dict[str, Any]:
    """The processor's settings as plain values."""
    return {
        "plan": describe(processor.plan),
        "template": processor.template,
        "system": processor.system,
        "max_length": processor.max_length,
        "overlong": processor.overlong,
    }


def load_encoder(folder: str | Path, *, allow: Sequence[str] = ()) -> Encoder:
    """Load only the encoder of a checkpoint folder: a vision vocabulary learnt by one model, for another (Vary).

    Args:
        folder: written by `save`.
        allow: packages other than Foveal that the encoder may come from; they are imported.

    Raises:
        ValueError: as for `load`.
    """
    source = Path(folder)
    encoder = _read_part(source, _read_config(source), "encoder", ("foveal", *allow))
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{source / CONFIG}: 'encoder' describes something else")
    return encoder.eval()


def _read_part(source: Path, config: dict[str, Any], part: str, allow: Sequence[str]) -> nn.Module:
    path = source / f"{part}.safetensors"
    tensors = StoredTensors(path).described
    if not only_shapes():
        _compare(config, part, source, tensors, allow)
        tensors = read_tensors(path)
    module = built(config, part, source / CONFIG, allow=allow)
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kinds) == 1:
        module.to(kinds.pop())
    if not only_shapes():
        load_exact(module, tensors, source=str(path))
    result: nn.Module = module
    return result


def _compare(
    config: dict[str, Any], part: str, source: Path, tensors: Mapping[str, Tensor], allow: Sequence[str]
) -> None:
    """Refuse a part whose description and weights do not go together, before memory is taken for it."""
    try:
        module = built_on_meta(lambda: build(config[part], allow=allow), tensors)
    except ValueError as error:
        raise ValueError(f"{source / CONFIG}: the {part} {error}") from error
    except (TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError):
        # Somebody's own part may need values while it is built. If it is something else, `built` says so.
        return
    if not isinstance(module, nn.Module):
        raise ValueError(f"{source / CONFIG}: '{part}' describes something else")
    check_fit(module, tensors, source=f"{source / CONFIG}: the {part} does not go with its weights: {part}.safetensors")


def _read_config(source: Path) -> dict[str, Any]:
    path = source / CONFIG
    if not source.is_dir():
        raise ValueError(f"there is no folder {source}, and a hub name looks like llava-hf/llava-1.5-7b-hf")
    if not path.is_file():
        raise ValueError(
            f"{source} is not a checkpoint: it has neither the config.yaml that `save` and `recipes.fit` write, nor "
            "the config.json of a published one"
        )
    config = read_yaml(path)
    expected = {"format", "encoder", "connector", "plan", "template", "system", "max_length"}
    if not isinstance(config, dict) or set(config) - OPTIONAL != expected:
        if isinstance(config, dict) and {"model", "trainer"} <= set(config):
            raise ValueError(f"{source} is the folder of a run: its model is in {source / 'checkpoint'}")
        found = sorted(config) if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{path}: expected the keys {sorted(expected)}, found {found}")
    if config["format"] != FORMAT:
        raise ValueError(f"{path}: format {config['format']}, this version reads format {FORMAT}")
    check_values(SETTINGS | {"tokenizer_format": int}, config, source=str(path))
    return config


def _existing(folder: Path) -> str:
    if not folder.is_dir():
        raise ValueError(f"the checkpoint is incomplete: there is no folder {folder}")
    refuse_auto_map(folder)
    return str(folder)
