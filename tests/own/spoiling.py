"""A callback from outside Foveal that spoils a weight."""

import torch
from lightning.pytorch import Callback


class Spoiling(Callback):
    """Sets a weight to nan.

    Args:
        step: number of optimizer steps after which it does so.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(weight for weight in pl_module.parameters() if weight.requires_grad).fill_(torch.nan)
