"""A stand-in for lmms-eval, which is not installed in the workspace, and a tiny model."""

import importlib
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import StretchToSquare, VisionLanguageModel, byte_tokenizer, llama, save


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class Lmms(ABC):
    is_simple = True

    def __init__(self):
        self._rank, self._world_size, self.cache_hook, self.task_dict = 0, 1, None, {}

    @abstractmethod
    def loglikelihood(self, requests): ...

    @abstractmethod
    def generate_until(self, requests): ...

    @abstractmethod
    def generate_until_multi_round(self, requests): ...

    @classmethod
    def create_from_arg_string(cls, text, more):
        return cls(**dict(pair.split("=", 1) for pair in text.split(",") if pair), **more)

    @property
    def rank(self):
        return self._rank

    @property
    def world_size(self):
        return self._world_size


@dataclass
class TokenCounts:
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts | None = None


@dataclass
class Instance:
    request_type: str
    arguments: tuple[Any, ...]
    idx: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def args(self):
        return self.arguments


STUB = {
    "lmms_eval": {},
    "lmms_eval.api": {},
    "lmms_eval.api.instance": {
        "GenerationResult": GenerationResult,
        "Instance": Instance,
        "TokenCounts": TokenCounts,
    },
    "lmms_eval.api.model": {"lmms": Lmms},
    "lmms_eval.models": {},
    "lmms_eval.models.registry_v2": {"ModelManifest": ModelManifest},
}
"""The members of lmms-eval that the plug-in uses, by module."""


@pytest.fixture
def lmms_eval(monkeypatch):
    """Puts the stand-in where `import lmms_eval` finds it; returns the module with the plug-in's class."""
    for name, members in STUB.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    yield importlib.import_module("foveal.lmms_eval.model")
    del sys.modules["foveal.lmms_eval.model"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A model with such large random weights that its answers differ."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VisionLanguageModel(
            VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
            MlpProjector,
            llama(260, width=16, depth=2, heads=2, mlp_width=16, context=128),
            byte_tokenizer(),
            StretchToSquare(16),
            system="",
            max_length=128,
        )
        for weights in model.language_model.parameters():
            torch.nn.init.normal_(weights)
    return save(model, tmp_path_factory.mktemp("saved") / "checkpoint")


@pytest.fixture
def requests():
    """Makes one request of a task for every document; a document is its message parts."""

    def of(model, documents, arguments=None, task="colours"):
        model.task_dict[task] = {"test": documents}
        given = arguments if isinstance(arguments, list) else [arguments or {"until": ["\n\n"]}] * len(documents)
        return [
            Instance("generate_until", ("", _messages, dict(each), number, task, "test"))
            for number, each in enumerate(given)
        ]

    return of


def _messages(document):
    return [{"role": "user", "content": document}]
