"""Models that only transformers knows: any of its image-text-to-text models, from a folder or by hub name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image as Pillow
from PIL.Image import Image

from foveal.core import Size
from foveal.encoders.hub import folder_of
from foveal.models.foreign_code import config_without_code, no_code_of
from foveal.models.library_errors import told_of
from foveal.models.published import is_published


def foreign_kind(checkpoint: Path) -> str | None:
    """The class of transformers that reads a picture and text, for a folder or hub name; None if there is none."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as CLASSES

    if not is_published(checkpoint):
        return None
    try:
        # Fetches no more than the configuration, and nothing for a name that cannot be one of the hub.
        with torch.device("meta"):
            folder = folder_of(str(checkpoint))
        config = config_without_code(str(folder))
    except (OSError, ValueError):
        return None  # what `load` says of it is clearer
    found: str | tuple[str, ...] | None = CLASSES.get(config.model_type)
    return found[0] if isinstance(found, tuple) else found


class ForeignReader:
    """A model and its processor, both of transformers.

    Args:
        checkpoint: folder, from which alone is read then, or hub name.
        device: where the model is put.

    Raises:
        ValueError: if the folder names code, has no safetensors, lacks a weight, or has no processor.
    """

    def __init__(self, checkpoint: Path, device: str) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        name, local = str(checkpoint), checkpoint.is_dir()
        with told_of(name, "transformers cannot open the model"), no_code_of(name):
            self.processor: Any = AutoProcessor.from_pretrained(name, local_files_only=local, trust_remote_code=False)
            model, found = AutoModelForImageTextToText.from_pretrained(
                name,
                local_files_only=local,
                trust_remote_code=False,
                use_safetensors=True,
                dtype="auto",
                output_loading_info=True,
            )
        # transformers would go on with random weights.
        if absent := sorted({*found["missing_keys"], *(each[0] for each in found["mismatched_keys"])}):
            raise ValueError(f"{name}: {len(absent)} weights are missing or of another shape, such as {absent[0]}")
        self.model: Any = model.eval().to(device)
        self.processor.tokenizer.padding_side = "left"
        if self.processor.tokenizer.pad_token is None:
            self.processor.tokenizer.pad_token = self.processor.tokenizer.eos_token

    def answers(self, pages: Sequence[Image], question: str, *, max_new_tokens: int) -> list[str]:
        inputs = self._inputs(pages, question).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
        new = ids if self.model.config.is_encoder_decoder else ids[:, inputs["input_ids"].shape[1] :]
        return [str(text).strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def tokens(self, page: Size) -> int | None:
        config, shown = self.model.config, self._inputs([Pillow.new("RGB", page)], "")["input_ids"]
        marks = {getattr(config, name, None) for name in ("image_token_id", "image_token_index")} - {None}
        # Some models do not put pictures into the sequence.
        return sum(int((shown == mark).sum()) for mark in marks) or None

    def _inputs(self, pages: Sequence[Image], question: str) -> Any:
        """The prompts, padded on the left; questions as the model's chat template writes them, if it has one."""
        return self.processor(
            text=[self._prompt(question)] * len(pages),
            images=[[page] for page in pages],
            padding=True,
            return_tensors="pt",
        )

    def _prompt(self, question: str) -> str:
        if getattr(self.processor, "chat_template", None) is None:
            return f"{getattr(self.processor, 'image_token', '')}{question}"
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
