"""What several tests of the recipes share."""

from functools import partial

import lightning.pytorch as pl
import pytest


@pytest.fixture
def quiet_trainer(tmp_path):
    """A Trainer on the CPU that writes and prints nothing of itself; called with what the test is about."""
    return partial(
        pl.Trainer,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
