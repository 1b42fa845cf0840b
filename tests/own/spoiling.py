"""A callback from outside of Foveal: spoils a weight."""

import torch
from lightning.pytorch import Callback


class Spoiling(Callback):
    """Sets a weight to nan.

    Args:
        step: after so many optimizer steps.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(weight for weight in pl_module.parameters() if weight.requires_grad).fill_(torch.nan)
