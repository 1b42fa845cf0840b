"""Fixtures for every test of the workspace."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest_plugins = ["tests.fitting"]

ROOT = Path(__file__).parent
SHARED = Path(os.environ.get("FOVEAL_SHARED", ROOT.parent / "shared"))


@dataclass(frozen=True)
class Golden:
    """One reference: what NAME.json says and what NAME.safetensors holds."""

    meta: Any
    tensors: dict[str, torch.Tensor]


class GoldenFolder:
    """`golden("uhd/resampler")` reads one reference; the test is skipped where the folder is not there."""

    def __call__(self, name: str) -> Golden:
        stem = SHARED / "golden" / name
        described, stored = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.safetensors")
        if not (described.exists() or stored.exists()):
            pytest.skip(
                f"no reference data {name} under {SHARED / 'golden'} (set FOVEAL_SHARED to the folder that has it)"
            )
        return Golden(
            meta=json.loads(described.read_text(encoding="utf-8")) if described.exists() else {},
            tensors=load_file(stored) if stored.exists() else {},
        )

    @staticmethod
    def strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose name starts with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.fixture
def golden() -> GoldenFolder:
    return GoldenFolder()


@pytest.fixture
def shared() -> Path:
    """The folder with reference data, receipts and tokenizers; the test is skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip(f"no folder {SHARED} (set FOVEAL_SHARED to the one with receipts and tokenizers)")
    return SHARED


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)
