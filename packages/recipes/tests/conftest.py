"""Fixtures shared by tests of the recipes."""

from functools import partial

import lightning.pytorch as pl
import pytest


@pytest.fixture
def quiet_trainer(tmp_path):
    """Makes a Trainer on the CPU that writes and prints nothing by itself; takes the settings under test."""
    return partial(
        pl.Trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
