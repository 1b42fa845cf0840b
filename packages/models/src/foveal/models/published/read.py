"""Open a published checkpoint of any known layout as a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.core import StoredTensors, load_exact
from foveal.encoders.hub import HUB_NAME, folder_of, only_shapes
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.language_models.build import DType
from foveal.models.language_models.quantize import Kind, record
from foveal.models.language_models.quantized_loading import load_quantized
from foveal.models.language_models.stored_quantization import check_quantization
from foveal.models.library_errors import built_from
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.model import VisionLanguageModel
from foveal.models.published import (
    deepseek_ocr2_layout,
    got_layout,
    internvl_layout,
    llava_layout,
    minicpm_layout,
    onevision_layout,
    qwen3_vl_layout,
    transformers_layout,
    uhd_v2_layout,
    vary_layout,
)
from foveal.models.published.decoders import check_depth, check_shapes, empty, fill, prompt_of
from foveal.models.published.folder_tokenizer import folder_tokenizer
from foveal.models.published.json_file import read_settings
from foveal.models.published.kinds import refuse_unknown_kind
from foveal.models.published.quantized_folders import plain_weights, quantized_decoder
from foveal.models.published.recipe import Draft
from foveal.models.views.named import chosen_plan

Known = Callable[[Mapping[str, Any], StoredTensors], bool]
Drafted = Callable[[Mapping[str, Any], StoredTensors, str | None], Draft]
LAYOUTS: tuple[tuple[Known, Drafted], ...] = (
    (got_layout.is_got, got_layout.draft),
    (deepseek_ocr2_layout.is_deepseek_ocr2, deepseek_ocr2_layout.draft),
    (vary_layout.is_base, vary_layout.base),
    (vary_layout.is_tiny, vary_layout.tiny),
    (minicpm_layout.is_minicpm, minicpm_layout.draft),
    (uhd_v2_layout.is_uhd_v2, uhd_v2_layout.draft),
    (llava_layout.is_original, llava_layout.draft),
    (transformers_layout.is_library, transformers_layout.draft),
    (onevision_layout.is_onevision, onevision_layout.draft),
    (qwen3_vl_layout.is_qwen3_vl, qwen3_vl_layout.draft),
    (internvl_layout.is_internvl, internvl_layout.draft),
)
"""How a folder is recognised and read; the first match wins."""
AS_PUBLISHED = Overrides()


def is_published(name_or_folder: str | Path) -> bool:
    """Whether `open_published` should open it: a folder that others wrote, a file of weights, or a hub name."""
    path = Path(name_or_folder)
    if path.is_dir():
        return (path / "config.json").is_file() and not (path / "config.yaml").exists()
    name = str(name_or_folder)
    return path.is_file() or (name.count("/") == 1 and HUB_NAME.fullmatch(name) is not None)


def open_published(name_or_folder: str | Path, overrides: Overrides = AS_PUBLISHED) -> VisionLanguageModel:
    """Open a checkpoint that somebody has published, on the CPU, in evaluation mode.

    If the default device is the meta device, the model is there, without weights.

    Recognised by configuration and tensor names, not by the folder's name; docs/checkpoints.md lists the kinds. Tensors
    are read one at a time; unused ones are logged with the reason.

    Args:
        name_or_folder: folder with `config.json`, safetensors and a tokenizer, or hub name.
        overrides: settings that replace the published ones. With dtype `auto`, an encoder from elsewhere gets the
            projector's dtype. If the checkpoint contains a tower, that tower always wins, and only the sizes of
            `encoder` are read.

    Raises:
        ValueError: if the folder is none of these, describes something that cannot be built, has pickled weights, or a
            tensor is missing, left over, of another shape, or belongs to no part; if the tokenizer lacks a token that
            was trained, or has another id for it than the configuration; if it cannot be quantised.
        OSError: if there is no tokenizer.
        ImportError: if it is to be quantised, and bitsandbytes is not installed.
    """
    folder = Path(name_or_folder)
    with built_from(str(name_or_folder)):
        if not folder.is_file():
            with torch.device("meta"):
                # Fetches sizes alone: a model of an unknown kind is refused before its weights are fetched.
                refuse_unknown_kind(config_of_folder(folder_of(str(name_or_folder))), source=str(name_or_folder))
            # On the meta device only sizes would be fetched, but the tensor names are in the weights' files.
            with torch.device("cpu"):
                folder = folder_of(str(name_or_folder))
        return opened(config_of_folder(folder), StoredTensors(folder), name_or_folder, folder, overrides)


def opened(
    config: Mapping[str, Any], weights: StoredTensors, name: str | Path, folder: Path, overrides: Overrides
) -> VisionLanguageModel:
    """Open a published checkpoint whose configuration and weights have been found.

    Args:
        config: content of `config.json`.
        weights: under published names.
        name: folder or hub name of the tokenizer.
        folder: the same as a folder.
        overrides: as for `open_published`.

    Raises:
        ValueError: as for `open_published`.
    """
    stored, weights = weights, plain_weights(weights, config)
    draft = _recognised(config, weights)(config, weights, overrides.encoder)
    tokenizer = folder_tokenizer(str(name), folder, draft, config)
    template, system = (
        (overrides.template, None)
        if overrides.template is not None
        else (draft.prompt(tokenizer) if callable(draft.prompt) else draft.prompt)
        or prompt_of(draft.family, tokenizer, has_tiles=isinstance(draft.merge, AnyResMerge), source=weights.source)
    )
    draft.names.log_ignored(weights.source)
    # The small parts first, so that their errors show before gigabytes are read.
    _fill_parts(draft, weights, overrides.dtype)
    language_model = _language_model(draft, stored, weights, overrides.dtype, overrides.quantize)
    merge = draft.merge
    model = VisionLanguageModel(
        draft.encoder,
        lambda _in_width, _out_width: draft.connector,
        language_model,
        tokenizer,
        chosen_plan(overrides.plan, lambda: draft.plan),
        merge=None if merge is None else lambda _width: merge,
        template=template,
        system=system,
        max_length=draft.max_length if overrides.max_length is None else overrides.max_length,
        overlong=overrides.overlong or "raise",
        attention=overrides.attention,
    )
    return model.eval()


def config_of_folder(folder: Path) -> Mapping[str, Any]:
    """The content of a published folder's `config.json`.

    Raises:
        ValueError: if there is none, it is damaged, or says that the weights are quantised in a way that is not known.
    """
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file, a model is a folder: for a projector alone (mm_projector) build the model and call "
            "foveal.models.published.load_projector(model, file)"
        )
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: it is not a published checkpoint")
    config = read_settings(path)
    check_quantization(config, source=str(path))
    return config


def _recognised(config: Mapping[str, Any], weights: StoredTensors) -> Drafted:
    for is_this, draft in LAYOUTS:
        if is_this(config, weights):
            return draft
    names = list(weights.shapes)
    if any("mm_projector." in name for name in names):
        what = "a projector without the rest of the model: foveal.models.published.load_projector(model, path) reads it"
    elif any(name.startswith(("lm_head.", "model.layers.", "transformer.h.", "model.decoder.")) for name in names):
        what = "a language model alone: foveal.models.pretrained_language_model(folder) reads it"
    elif any(
        mark in name for name in names for mark in ("vision_model.", "patch_embed", "embeddings.patch", "visual.")
    ):
        what = "an encoder alone: foveal.encoders.clip_vit(folder) and its neighbours read it"
    else:
        what = "not a known vision-language model"
    raise ValueError(
        f"{weights.source}: by its configuration (model_type {config.get('model_type')!r}) and its {len(names)} "
        f"tensors, such as {sorted(names)[:3]}, this is {what}"
    )


def _language_model(
    draft: Draft, stored: StoredTensors, weights: StoredTensors, dtype: DType, quantize: Kind | None
) -> torch.nn.Module:
    """The language model, quantised if `stored` is or if it is asked for; `weights` are the same, dequantised."""
    published, source = draft.names.of("language_model"), f"{weights.source} (language model)"
    check_depth(draft.language_model, published.values(), source=source)
    kind = weights.dtype(published) if dtype == "auto" else getattr(torch, dtype)
    held = quantized_decoder(stored, published)
    if only_shapes():
        module = empty(draft.language_model, kind)
        if held is not None:
            record(module, held)
        return module
    if held is not None or quantize is not None:

        def rename(tensors: dict[str, Tensor]) -> Mapping[str, Tensor]:
            return draft.rename({published[name]: each for name, each in tensors.items() if name in published})

        return load_quantized(stored, draft.language_model, kind=quantize, dtype=kind, rename=rename)
    module = empty(draft.language_model, kind)
    described = ((inside, torch.empty(weights.shapes[name], device="meta")) for name, inside in published.items())
    shapes = {inside: tuple(tensor.shape) for inside, tensor in draft.gather(described)}
    check_shapes(module, shapes, draft.rename, source=source)
    tensors = draft.gather((published[name], tensor) for name, tensor in weights.stream(published))
    fill(module, tensors, draft.rename, source=source)
    return module


def _fill_parts(draft: Draft, weights: StoredTensors, dtype: DType) -> None:
    """Fill encoder, connector and merge, which are small compared with the language model."""
    small = [name for reading in draft.readings for name in draft.names.of(reading.part)]
    # Of a projector without weights beside a tower from elsewhere, the language model's.
    kind = weights.dtype(small or draft.names.of("language_model")) if dtype == "auto" else getattr(torch, dtype)
    parts = [part for part in (draft.encoder, draft.connector, draft.merge) if part is not None]
    for part in parts:
        part.to(kind)
    if only_shapes():
        return
    for part in parts:
        if any(tensor.is_meta for tensor in part.state_dict().values()):
            part.to_empty(device="cpu")
    for reading in draft.readings:
        published = draft.names.of(reading.part)
        tensors = {published[name]: tensor for name, tensor in weights.stream(published)}
        source = f"{weights.source} ({reading.part})"
        load_exact(reading.module, reading.convert(tensors, source=source), source=source)
