"""Fixtures for every test of the workspace."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest_plugins = ["tests.browser", "tests.fitting", "tests.lora_folders", "tests.receipts"]

ROOT = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """Keep what commands cache away from the user's own cache; let processes side by side use a thread each.

    Commands that tests start take Ctrl-C: a shell lets what it starts in the background ignore it, and so would they.
    """
    cache = tempfile.TemporaryDirectory(prefix="foveal-cache-")
    config.add_cleanup(cache.cleanup)
    os.environ["FOVEAL_CACHE"] = cache.name
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        # Threads of several processes that wait for each other on the same cores cost tenfold.
        torch.set_num_threads(1)


@dataclass(frozen=True)
class Golden:
    """One reference: what NAME.json says and what NAME.safetensors holds."""

    meta: Any
    tensors: dict[str, torch.Tensor]


class GoldenFolder:
    """`golden("uhd/resampler")` reads one reference.

    It lies in the folder `golden` beside the test, or, where packages share it, in `tests/golden`.
    """

    def __init__(self, test: Path) -> None:
        self.folders = (test.parent / "golden", ROOT / "tests" / "golden")

    def file(self, *names: str) -> Path:
        """The first file that is there, such as `llava/tokenizer_spm_first.json`.

        Raises:
            FileNotFoundError: if there is none.
        """
        for folder in self.folders:
            for name in names:
                if (folder / name).is_file():
                    return folder / name
        raise FileNotFoundError(f"no reference data {' or '.join(names)} in {' or '.join(map(str, self.folders))}")

    def __call__(self, name: str) -> Golden:
        stem = self.file(f"{name}.json", f"{name}.safetensors").with_suffix("")
        described, stored = stem.with_suffix(".json"), stem.with_suffix(".safetensors")
        return Golden(
            meta=json.loads(described.read_text(encoding="utf-8")) if described.exists() else {},
            tensors=load_file(stored) if stored.exists() else {},
        )

    @staticmethod
    def strip(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose name starts with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> GoldenFolder:
    return GoldenFolder(request.path)


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _parser_settings() -> Iterator[None]:
    """What one test allows its parser to import stays with that test."""
    yield
    if (parser := sys.modules.get("jsonargparse._common")) is not None:
        denied = parser.default_import_path_denylist
        parser.parsing_settings["import_path_verdicts"] = dict.fromkeys(denied, False)
