"""Whether an explanation fits into memory, before anything is recorded."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.models.language_models.injection import decoder_layers

MEMORY = Path("/proc/meminfo")
"""What Linux says about its memory."""


def attention_bytes(language_model: Any, tokens: int) -> int:
    """Memory of all attention probabilities of a language model for one sequence, and of their gradients."""
    heads: int = language_model.config.get_text_config().num_attention_heads
    weight: Tensor = language_model.get_input_embeddings().weight
    return 2 * len(decoder_layers(language_model)) * heads * tokens**2 * weight.itemsize


def available_bytes(device: torch.device) -> int | None:
    """Memory in bytes that can be taken on a GPU, or on the CPU without swapping; None: the system does not say."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    if device.type != "cpu" or not MEMORY.is_file():
        return None
    found = re.search(r"^MemAvailable: *([0-9]+) kB$", MEMORY.read_text(encoding="ascii"), re.MULTILINE)
    return None if found is None else 1024 * int(found[1])


def check_room(needed: int, device: torch.device) -> None:
    """Refuse an explanation whose attention needs more memory than is available; a system that would begin to swap, or
    end the process, gives no error.

    Args:
        needed: bytes.
        device: the model's.

    Raises:
        ValueError: naming both.
    """
    available = available_bytes(device)
    if available is not None and needed > available:
        other = ", or use the CPU" if device.type == "cuda" else ""
        raise ValueError(
            f"the attention probabilities and their gradients need {needed / 1e9:.2f} GB, {available / 1e9:.2f} GB are "
            f"free: explain a smaller picture or a shorter answer{other}"
        )
