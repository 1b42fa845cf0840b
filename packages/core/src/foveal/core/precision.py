"""Where full precision matters."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within, tensors on `device` keep their precision, whatever autocast is switched on around it."""
    # torch.autocast knows no meta device, on which nothing is computed anyway.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
