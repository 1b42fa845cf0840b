"""Merge adapters and their base into one checkpoint.

Nothing is written unless the merged model gives the logits of the model with adapters: on a text and on a picture, in
float32, and again after reading it back from disk.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from foveal.core import in_float32, whole_folder
from foveal.models import Turn, VisionLanguageModel, load, save
from foveal.models.checkpoints.adapter import apply_adapter, base_of, read_manifest
from foveal.models.checkpoints.load import load_base
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.language_models.injection import decoder_layers
from foveal.models.language_models.quantize import StoredKind, quantized_layers, recorded_kind, replace
from foveal.models.lora import merge_lora
from recipes.command_line.console import calm, short_errors, stop

TOLERANCE = 1e-4
"""Largest difference of logits allowed, in float32."""
PROBE_TOKENS = 64
PICTURE = (160, 120)
"""Width and height of the probe picture, in pixels; not square, so that plans crop or pad it."""


class MergeError(ValueError):
    """The merged model does not give the logits of the model with adapters."""


def merge(
    adapter: Path,
    output: Path,
    *,
    base: Path | None = None,
    dequantize: bool = False,
    encoder: str | None = None,
    allow: Sequence[str] = (),
) -> dict[str, float]:
    """Write the merged checkpoint `output`, in the base's dtypes.

    Args:
        adapter: folder saved by a training with LoRA.
        output: new folder.
        base: the base, if it has moved; a base that was quantised on loading is then used as stored.
        dequantize: convert a quantised base back to the floating-point weights that it computes with.
        encoder: folder or hub name of the image tower, for a published base without one.
        allow: packages other than Foveal from which parts may be imported.

    Returns:
        Largest differences of logits: `merged`, the merged model in float32 against the model with adapters; `stored`,
        the written checkpoint against the merged model in the base's dtypes; `rounded`, the merged model in the base's
        dtypes against the one in float32.

    Raises:
        MergeError: if `merged` or `stored` is above the tolerance, or a logit is not finite.
        ValueError: if `output` exists, the base is quantised, or as `load_adapter`.
    """
    if output.exists():
        raise ValueError(f"{output} exists: choose another folder")
    model = _model_with_adapters(adapter, base, dequantize=dequantize, encoder=encoder, allow=allow)
    dtypes = {name.replace(".base_layer.", "."): weight.dtype for name, weight in model.named_parameters()}
    wanted = probe(model)
    model.float()
    merge_lora(model.language_model)
    merged = probe(model)
    figures = {"merged": _difference(merged, wanted, "the merged model")}
    for name, weight in model.named_parameters():
        weight.data = weight.data.to(dtypes[name])
    with whole_folder(output) as partial:
        save(model, partial)
        rounded = probe(model)
        del model
        figures["stored"] = _difference(probe(load(partial, allow=allow)), rounded, "the written checkpoint")
        figures["rounded"] = max(float((a - b).abs().max()) for a, b in zip(rounded, merged, strict=True))
    return figures


@torch.inference_mode()
def probe(model: VisionLanguageModel) -> list[Tensor]:
    """Float32 logits of two prompts: tokens from across the vocabulary, and a question about a picture."""
    vocabulary = model.language_model.get_input_embeddings().weight.shape[0]
    text = torch.linspace(0, vocabulary - 1, PROBE_TOKENS).long()[None]
    pixels = torch.randint(0, 256, (PICTURE[1], PICTURE[0], 3), generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(pixels.to(torch.uint8).numpy())
    sample = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat is written here?")])
    batch = model.processor.collate([sample])
    model.eval()
    with in_float32(model, decoder_layers(model.language_model)):
        return [model(text), model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)]


def dequantize_(language_model: Any) -> None:
    """Replace the decoder's quantised layers, in place, by the floating-point weights that they compute with."""
    for name in quantized_layers(language_model):
        layer = language_model.get_submodule(name)
        linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        linear.weight = nn.Parameter(layer.dequantized(language_model.dtype), requires_grad=False)
        linear.bias = layer.bias
        replace(language_model, name, linear)
    del language_model.config.quantization_config
    language_model.is_loaded_in_4bit = language_model.is_loaded_in_8bit = False


def main(options: argparse.Namespace) -> None:
    """Merge, and print how well the result agrees.

    Args:
        options: as `merge_options` returns them.

    Raises:
        SystemExit: with 2 if a library is missing, 1 for unusable input or a merge that does not agree.
    """
    calm()
    with short_errors():
        try:
            figures = merge(
                options.checkpoint,
                options.output,
                base=options.base,
                dequantize=options.dequantize,
                encoder=options.encoder,
                allow=options.allow_import,
            )
        except ImportError as error:
            stop(str(error))
    print(f"{options.output}: the logits of merged and adapted model differ by {figures['merged']:.1e} in float32")
    if figures["rounded"] > TOLERANCE:
        print(f"it is stored in the base's dtypes, whose rounding changes the logits by up to {figures['rounded']:.1e}")


def _model_with_adapters(
    adapter: Path, base: Path | None, *, dequantize: bool, encoder: str | None, allow: Sequence[str]
) -> VisionLanguageModel:
    found = base_of(adapter, base)
    kind = None if base is not None and not dequantize else read_manifest(adapter)["base"]["quantize"]
    if kind is not None and not dequantize:
        raise ValueError(_refusal(kind))
    model = load_base(adapter, found, Overrides(quantize=kind, encoder=encoder, allow=allow))
    if stored := recorded_kind(model.language_model.config):
        if not dequantize:
            raise ValueError(_refusal(stored))
        dequantize_(model.language_model)
    apply_adapter(model, adapter)
    return model


def _refusal(kind: StoredKind) -> str:
    return (
        f"the base is quantised as {kind}, and merging in so few bits would change the model: --dequantize first gives "
        "it floating-point weights; if it was quantised on loading, --base FOLDER uses the stored weights"
    )


def _difference(ours: list[Tensor], wanted: list[Tensor], what: str) -> float:
    """The largest difference between logits.

    Raises:
        MergeError: if it is above the tolerance, or a logit is not finite.
    """
    largest = max(float((a - b).abs().max()) for a, b in zip(ours, wanted, strict=True))
    # Not `largest > TOLERANCE`, which is false for NaN.
    if not largest <= TOLERANCE:
        raise MergeError(f"logits of {what} are off by {largest:.2e}, more than {TOLERANCE:.0e}: nothing was written")
    return largest
