"""Names that people use in code, configurations and checkpoints stay where they are."""

import inspect
import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse._util import get_import_path
from PIL import Image
from safetensors.torch import load_file

from foveal.core import describe
from foveal.models import Turn, load, save

NAMES = json.loads((Path(__file__).parent / "public_names.json").read_text(encoding="utf-8"))
"""What every package exported when its files moved into folders."""
SAVED = Path(__file__).parents[1] / "packages/models/tests/checkpoint_of_0_1"
"""Written by foveal-models 0.1 before that: DeepStack-L with six layers, and the logits of one picture."""


@pytest.mark.parametrize(("package", "name"), [(package, name) for package in NAMES for name in NAMES[package]])
def test_the_name_is_there(package, name):
    assert name in import_module(package).__all__


@pytest.mark.parametrize("package", [name for name in NAMES if name != "foveal.models.published"])
def test_classes_are_written_by_their_public_name(package):
    module = import_module(package)
    for name in NAMES[package]:
        exported = getattr(module, name)
        if inspect.isclass(exported) and exported.__module__.startswith(package):
            assert get_import_path(exported) == f"{package}.{name}"


def test_a_checkpoint_of_before_opens_and_is_written_again_as_it_was(tmp_path):
    model = load(SAVED).eval()
    picture = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    turns = [Turn("user", "<image>\nWhat?"), Turn("assistant", "It.")]
    batch = model.processor.collate([model.processor.encode([picture], turns)])
    with torch.no_grad():
        logits = model(batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes)
    torch.testing.assert_close(logits, load_file(SAVED / "expected.safetensors")["logits"], rtol=0, atol=1e-6)
    save(model, tmp_path / "again")
    before, after = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (SAVED, tmp_path / "again"))
    # Options added since, with their defaults.
    before["plan"]["init_args"]["draft"] = False
    before["encoder"]["init_args"] |= {"norm": "layer", "qkv_bias": True, "norm_queries": False}
    # The tokenizer itself is as before; the number says that no earlier version wrote it.
    assert after == before | {"tokenizer_format": 2}
    assert describe(model.encoder)["class_path"] == "foveal.encoders.VisionTransformer"
