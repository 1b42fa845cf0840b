"""The result of a LoRA training as a folder, without the base model.

manifest.yaml           the base (its location, a hash of its weights, how it was quantised), plan, prompt template
adapter.yaml            rank, alpha, dropout; layers, if not all linear layers of the decoder have adapters
adapter.safetensors     LAYER.lora_A.weight and LAYER.lora_B.weight, by the layers' names in the language model
connector.safetensors
merge.safetensors       only if the model's merge has weights
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from foveal.core import check_values, hints_of, load_exact, read_tensors, whole_folder
from foveal.encoders.hub import folder_of, only_shapes
from foveal.limited_yaml import read_yaml
from foveal.models.checkpoints.fingerprint import weights_hash
from foveal.models.checkpoints.folder import described_prompts, part_of
from foveal.models.checkpoints.settings import SETTINGS
from foveal.models.language_models.quantize import StoredKind, recorded_kind
from foveal.models.lora import Lora, adapted_layers, adapter_state, add_lora, fill_lora, lora_of
from foveal.models.model import VisionLanguageModel
from foveal.models.published.peft_layout import convert_first, is_foreign_adapter

FORMAT = 1
MANIFEST = "manifest.yaml"


def is_adapter(folder: str | Path) -> bool:
    """Whether the folder holds adapters."""
    return (Path(folder) / MANIFEST).is_file()


def save_adapter(
    model: VisionLanguageModel, folder: str | Path, *, base: str | Path, state: Mapping[str, Tensor] | None = None
) -> Path:
    """Write adapters and connector of `model` into `folder`, which is afterwards either complete or unchanged.

    Args:
        model: has adapters (see `add_lora`) on the weights of `base`.
        folder: new, empty, or an adapter folder, which is replaced.
        base: what `load` opened: folder, file or hub name. If it has the same parent as `folder`, both may be moved
            together.
        state: the weights by their names in `model`, for a model that holds only shards of them.

    Raises:
        ValueError: if the model has no adapters, `base` has no weights, or `folder` holds something else.
    """
    target = Path(folder).resolve()
    if target.exists() and any(target.iterdir()) and not is_adapter(target):
        raise ValueError(f"{target} exists and holds no adapter: choose another folder")
    lora = lora_of(model.language_model)
    whole = model.state_dict() if state is None else state
    manifest = {
        "format": FORMAT,
        "base": {
            "folder": _seen_from(target, base),
            "sha256": weights_hash(base),
            "quantize": recorded_kind(model.language_model.config),
        },
        **described_prompts(model.processor),
    }
    files = {part: part_of(whole, part) for part in ("connector", "merge")}
    files["adapter"] = adapter_state(part_of(whole, "language_model"))
    with whole_folder(target) as partial:
        for name, tensors in files.items():
            if tensors or name != "merge":
                save_file(
                    {key: tensor.contiguous() for key, tensor in tensors.items()}, partial / f"{name}.safetensors"
                )
        layers = adapted_layers(model.language_model)
        settings = asdict(lora) | ({} if layers is None else {"layers": layers})
        for name, content in (("adapter.yaml", settings), (MANIFEST, manifest)):
            (partial / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return target


def apply_adapter(model: VisionLanguageModel, folder: str | Path) -> None:
    """Add the adapters and the connector of `folder` to `model`, a base, in place; on the meta device nothing is read.

    Raises:
        ValueError: if they do not fit.
        ImportError: if peft is not installed.
    """
    source = Path(folder)
    path = source / "adapter.yaml"
    try:
        described = read_yaml(path)
        check_values(hints_of(Lora) | {"layers": Sequence[str]}, described, source="adapters")
        layers = described.pop("layers", None)
        lora = Lora(**described)
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} does not give rank, alpha and dropout of adapters ({error})") from error
    if only_shapes():
        add_lora(model, lora, layers)
        return
    load_exact(model.connector, _tensors(source, "connector"), source=str(source / "connector.safetensors"))
    if model.merge is not None and model.merge.state_dict():
        load_exact(model.merge, _tensors(source, "merge"), source=str(source / "merge.safetensors"))
    add_lora(model, lora, layers)
    fill_lora(model.language_model, _tensors(source, "adapter"), source=str(source / "adapter.safetensors"))
    model.eval()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of an adapter folder: its base and its prompt settings.

    Raises:
        ValueError: if it is not an adapter folder, or has another format.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        if is_foreign_adapter(folder):
            raise ValueError(convert_first(folder))
        raise ValueError(
            f"{folder} is not an adapter folder: it has no {MANIFEST}, as `recipes.fit` writes it with LoRA"
        )
    manifest = read_yaml(path)
    expected = {"format", "base", "plan", "template", "system", "max_length", "overlong"}
    if not isinstance(manifest, dict) or set(manifest) != expected:
        found = sorted(manifest) if isinstance(manifest, dict) else type(manifest).__name__
        raise ValueError(f"{path}: expected the keys {sorted(expected)}, found {found}")
    if manifest["format"] != FORMAT:
        raise ValueError(f"{path}: format {manifest['format']}, this version reads format {FORMAT}")
    if not isinstance(manifest["base"], dict) or set(manifest["base"]) != {"folder", "sha256", "quantize"}:
        raise ValueError(f"{path}: base must have folder, sha256 and quantize, not {manifest['base']!r:.200}")
    check_values(
        {"folder": str, "sha256": str, "quantize": StoredKind | None}, manifest["base"], source=f"{path}: base"
    )
    check_values(SETTINGS, manifest, source=str(path))
    return manifest


def base_of(folder: str | Path, base: str | Path | None = None) -> str:
    """The base of an adapter folder, after checking that its weights are those that the adapters were trained on.

    On the meta device the weights are not checked.

    Args:
        folder: the adapter folder.
        base: where the base is now; None: where the manifest says.

    Raises:
        ValueError: if there is no such base, or it has other weights; the message gives both hashes.
    """
    told: dict[str, str] = read_manifest(folder)["base"]
    found = str(base) if base is not None else named_base(folder)
    try:
        if only_shapes() and not Path(found).is_file():
            folder_of(found)
        if only_shapes():
            return found
        actual = weights_hash(found)
    except ValueError as error:
        raise ValueError(
            f"{folder} needs its base, and {error}; put it there, or change base.folder in {Path(folder) / MANIFEST}"
        ) from error
    if actual != told["sha256"]:
        raise ValueError(
            f"{found} is not the base of {folder}: its weights have the sha256 {actual}, the adapters were trained on "
            f"{told['sha256']} ({told['folder']})"
        )
    return found


def named_base(folder: str | Path) -> str:
    """Where the manifest of an adapter folder says that its base is; nothing is checked.

    Raises:
        ValueError: as `read_manifest`.
    """
    told: str = read_manifest(folder)["base"]["folder"]
    beside = Path(folder).resolve() / told
    return str(beside) if beside.exists() else told


def _tensors(folder: Path, part: str) -> dict[str, Tensor]:
    return read_tensors(folder / f"{part}.safetensors")


def _seen_from(target: Path, base: str | Path) -> str:
    """How the folder `target` refers to its base: by a relative path if they have the same parent."""
    path = Path(base).resolve()
    if not path.exists():
        return str(base)
    return f"../{path.name}" if path.parent == target.parent else str(path)
