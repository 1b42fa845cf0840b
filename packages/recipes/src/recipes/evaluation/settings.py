"""Everything besides the data that can change a score."""

import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from foveal.core import Size, whole_file
from foveal.models import Processor, Turn, VisionLanguageModel
from foveal.models.prompts.templates import PLACEHOLDER
from foveal.models.views.cut_views import views_of
from recipes.benchmarks.benchmark import Prompt, Prompts
from recipes.reading.json_value import read_object

LIBRARIES = ("torch", "transformers", "pillow", "numpy", "torchmetrics", "rapidfuzz", "foveal-models", "foveal-recipes")
EXTRAS = ("nltk", "zss", "av", "bitsandbytes", "xformers")
"""Libraries of some metrics, of videos, of quantised layers and of attention, where they are installed."""
SIZES = (Size(640, 480), Size(300, 900), Size(1000, 200), Size(37, 41))
"""Sizes of the pictures that stand for all in the hash of the preprocessing."""
HASHED = 1024
"""Fewest values of a large weight that count in the hash of the model; training changes nearly all."""


@dataclass(frozen=True)
class Settings:
    """How a model was asked. Answers to other settings are not mixed with these.

    Attributes:
        benchmark: its name.
        split: see `Benchmark`.
        checkpoint: the model, as it was named.
        prompts: whose prompts.
        prompt: the prompt's text.
        template: name of the model's template.
        prompt_hash: of everything about the prompt that the benchmark decides: text, longest answer, stop texts.
        template_hash: of the prompt in the model's template, as ids.
        preprocessing_hash: of what becomes of a few pictures; it is the same for models that see alike.
        model_hash: of a part of its weights: another model may have been written into the same folder.
        max_new_tokens: longest answer in tokens.
        temperature: 0: the likeliest token.
        stop: texts before which an answer ends.
        frames: of a video.
        quantize: bits of the decoder; empty: as saved.
        dtype: of the decoder's input.
        device: kind of device, such as `cuda`.
        attention: the decoder's attention kernel.
    """

    benchmark: str
    split: str
    checkpoint: str
    prompts: Prompts
    prompt: str
    template: str
    prompt_hash: str
    template_hash: str
    preprocessing_hash: str
    model_hash: str
    max_new_tokens: int
    temperature: float
    stop: tuple[str, ...]
    frames: int
    quantize: str
    dtype: str
    device: str
    attention: str

    def keep(self, path: Path) -> None:
        """Write them, or, if the file is there, check that they are the same.

        Raises:
            ValueError: naming what differs, if answers to other settings are there; or if another process writes it.
            OSError: if the file cannot be written.
        """
        now: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        if not path.exists():
            with whole_file(path) as file:
                file.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            return
        try:
            before = read_object(path)
        except ValueError as error:
            raise ValueError(f"{error}: give another --output") from error
        if differing := [name for name in now if before.get(name) != now[name]]:
            name = differing[0]
            raise ValueError(
                f"{path.parent} holds answers to other settings: {', '.join(differing)} "
                f"({before.get(name)!r:.60}, now {now[name]!r:.60}): give another --output"
            )


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a score."""
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    for name in EXTRAS:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def prompt_hash(prompt: Prompt) -> str:
    """A hash of what the benchmark decides: two scores with different ones are not comparable."""
    return hash_of([prompt.text, prompt.max_new_tokens, tuple(prompt.stop)])


def template_hash(processor: Processor, prompt: Prompt) -> str:
    """A hash of the prompt with template and system text around it, as the model's ids."""
    text = prompt.text.replace(PLACEHOLDER, "")  # there is no picture here
    return hash_of(processor.encode_prompt([], [Turn("user", text)]).input_ids.tolist())


def preprocessing_hash(processor: Processor) -> str:
    """A hash of the views and the visual tokens of a few pictures."""
    seen: list[Any] = []
    for size in SIZES:
        across, down = np.meshgrid(np.arange(size.width), np.arange(size.height))
        # Waves of all lengths, so that every way to resize them shows.
        waves = [127.5 + 127.5 * np.sin(across * across / 4000 * each + down / (each + 2)) for each in range(3)]
        picture = Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8))
        try:
            views = [view.numpy().tobytes() for view in views_of(processor.plan, picture, size)]
            seen.append([hash_of(views), processor.picture_ids(size)])
        except ValueError as error:  # a plan may take no picture of that shape
            seen.append(str(error))
    return hash_of(seen)


@torch.inference_mode()
def model_hash(model: VisionLanguageModel) -> str:
    """A hash of values at even distances in every weight, and of the weights' names."""
    seen: list[Any] = []
    for name, weight in model.state_dict().items():
        if isinstance(weight, torch.Tensor):  # a quantised part may also have texts
            values = weight.reshape(-1)
            chosen = values[:: max(len(values) // HASHED, 1)].contiguous().cpu()
            seen.append([name, list(weight.shape), hash_of(chosen.view(torch.uint8).numpy().tobytes())])
    return hash_of(seen)


def hash_of(value: Any) -> str:
    """A short hash of a value's `repr`."""
    return blake2b(repr(value).encode(), digest_size=8).hexdigest()
