"""Check that transformers computes the same: ask a model a question, then ask the folder exported from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveal.core import Size, StoredTensors, in_float32
from foveal.models.language_models.injection import decoder_layers
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.constants import IMAGE_TOKEN_ID
from foveal.models.prompts.templates import Turn
from foveal.models.views.normalise import normalised


@dataclass(frozen=True)
class Asked:
    """A question about a picture, and a model's logits in float32.

    Attributes:
        ids: [1, tokens], `IMAGE_TOKEN_ID` at placeholders.
        pixels: [views, 3, height, width], normalised.
        size: size of the picture in pixels.
        merged: whether a merge joined the views' tokens into one run.
        logits: [1, tokens, vocabulary].
    """

    ids: Tensor
    pixels: Tensor
    size: Size
    merged: bool
    logits: Tensor


@torch.no_grad()
def ask(model: VisionLanguageModel) -> Asked:
    """Ask about a picture of noise, wider than high, so that views are cut and mixed-up positions show."""
    side: int = model.processor.plan.views(Size(1, 1))[0].width
    noise = np.random.default_rng(0).integers(0, 256, (side, 2 * side + side // 3, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    size = Size.of(picture.size)
    sample = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat is it?")])
    ids = sample.input_ids[None].to(model.device)
    with in_float32(model, decoder_layers(model.language_model)):
        return Asked(
            ids,
            torch.stack(normalised(sample.views, model.encoder)),
            size,
            model.merge is not None,
            model(ids, sample.views, sizes=[size]),
        )


@torch.no_grad()
def difference(asked: Asked, kind: Any, folder: Path, image_id: int) -> float:
    """The largest difference between the logits of the model and of the exported folder, in float32.

    Only the vocabulary of the original model is compared.

    Args:
        asked: the question and the model's logits.
        kind: transformers' class.
        folder: the exported folder, read by `kind`.
        image_id: id of the image token there.

    Raises:
        ValueError: if transformers misses tensors in the folder, or ignores some.
    """
    kinds = {tensor.dtype for tensor in StoredTensors(folder).described.values()}
    dtype = kinds.pop() if len(kinds) == 1 else torch.float32
    theirs, loading = kind.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    if faults := {name: found for name, found in loading.items() if name.endswith("_keys") and found}:
        raise ValueError(f"transformers does not read the exported folder completely: {faults}")
    inputs: dict[str, Tensor] = {"pixel_values": asked.pixels}
    if asked.merged:
        sizes = torch.tensor([[asked.size.height, asked.size.width]])
        inputs = {"pixel_values": asked.pixels[None], "image_sizes": sizes}
    ids = asked.ids.where(asked.ids != IMAGE_TOKEN_ID, image_id)
    theirs = theirs.eval().to(asked.ids.device)
    with in_float32(theirs, decoder_layers(theirs.model.language_model)):
        logits: Tensor = theirs(input_ids=ids, **inputs).logits
    return float((asked.logits - logits[..., : asked.logits.shape[-1]]).abs().max())
