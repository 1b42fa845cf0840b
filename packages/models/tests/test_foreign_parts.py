"""Parts from somebody else's package: imported only if allowed by name, and nothing else ever is."""

import sys

import pytest
import yaml

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import (
    PadToSquare,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    load,
    load_adapter,
    load_encoder,
    save,
)
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.lora import Lora, add_lora

MINE = """
from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare

class Plan(PadToSquare):
    pass

class Projector(MlpProjector):
    pass

class Tower(VisionTransformer):
    pass
"""
EVIL = "from pathlib import Path\nPath({!r}).touch()\nclass Evil:\n    def __init__(self): pass\n"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's package, and one that leaves a trace when it is imported."""
    package = tmp_path / "packages"
    package.mkdir()
    (package / "mine.py").write_text(MINE)
    (package / "evil.py").write_text(EVIL.format(str(tmp_path / "trace")))
    monkeypatch.syspath_prepend(package)
    import mine

    yield mine
    assert not (tmp_path / "trace").exists()
    assert "evil" not in sys.modules
    del sys.modules["mine"]


def model_of(tower=VisionTransformer, connector=AdaptivePool, plan=PadToSquare):
    made = connector if connector is not AdaptivePool else lambda i, o: AdaptivePool(i, o, rows=2, columns=2)
    language_model = llama(260, width=32, depth=1, heads=2, mlp_width=48, context=400)
    return VisionLanguageModel(
        tower(16, 2, 2, 24, 7, 28), made, language_model, byte_tokenizer(), plan(28), max_length=400
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [({"tower": "Tower"}, "encoder"), ({"connector": "Projector"}, "connector"), ({"plan": "Plan"}, "plan")],
)
def test_every_part_is_asked_for(mine, tmp_path, options, part):
    folder = save(model_of(**{key: getattr(mine, name) for key, name in options.items()}), tmp_path / "checkpoint")
    (name,) = options.values()
    with pytest.raises(
        ValueError, match=rf"config\.yaml: the {part} mine\.{name}: classes are taken from foveal"
    ) as no:
        load(folder)
    message = str(no.value)
    assert "if you trust the package mine, allow it: --allow_import mine" in message
    assert len(message.splitlines()) == 1
    found = load(folder, allow=["mine"])
    loaded = found.processor.plan if part == "plan" else getattr(found, part)
    assert type(loaded) is getattr(mine, name)


def test_an_encoder_alone(mine, tmp_path):
    folder = save(model_of(mine.Tower), tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"--allow_import mine"):
        load_encoder(folder)
    assert type(load_encoder(folder, allow=["mine"])) is mine.Tower


def test_adapters_and_their_base(mine, tmp_path):
    model = model_of(connector=mine.Projector, plan=mine.Plan)
    save(model, tmp_path / "base")
    add_lora(model, Lora(rank=2))
    save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")
    for opened in (load, load_adapter):
        with pytest.raises(ValueError, match=r"manifest\.yaml: the plan mine\.Plan: .* --allow_import mine"):
            opened(tmp_path / "adapter")
        assert type(opened(tmp_path / "adapter", allow=["mine"]).connector) is mine.Projector


HOSTILE = {
    "function": {"class_path": "os.system", "init_args": {"command": "touch trace"}},
    "class": {"class_path": "evil.Evil", "init_args": {}},
    "inside": {
        "class_path": "foveal.connectors.Chain",
        "init_args": {
            "in_width": 16,
            "out_width": 32,
            "stages": [{"class_path": "evil.Evil", "init_args": {}}],
            "last": {"class_path": "evil.Evil", "init_args": {}},
        },
    },
    "through_an_allowed_one": {"class_path": "mine.evil.Evil", "init_args": {}},
    "alike": {"class_path": "mine_evil.Evil", "init_args": {}},
    "opened_by_load": {"class_path": "foveal.models.load", "init_args": {"folder": "evil", "allow": ["evil"]}},
    "built_by_build": {
        "class_path": "foveal.core.build",
        "init_args": {"description": {"class_path": "evil.Evil", "init_args": {}}, "allow": ["evil"]},
    },
    "taken_from_what_we_import": {"class_path": "foveal.models.model.torch.nn.Linear", "init_args": {}},
    "taken_from_a_module": {"class_path": "foveal.models.model.nn", "init_args": {}},
    "no_package": {"class_path": "evil", "init_args": {}},
    "relative": {"class_path": "..evil.Evil", "init_args": {}},
}


@pytest.mark.parametrize("allow", [(), ("mine",)], ids=["none", "mine"])
@pytest.mark.parametrize("part", ["encoder", "connector", "plan", "merge"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_nothing_else_is_imported(mine, tmp_path, monkeypatch, hostile, part, allow):
    monkeypatch.chdir(tmp_path)
    folder = save(model_of(), tmp_path / "checkpoint")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {part: hostile}))
    if part == "merge":
        (folder / "merge.safetensors").write_bytes((folder / "connector.safetensors").read_bytes())
    with pytest.raises(ValueError, match=rf"config\.yaml: the {part} "):
        load(folder, allow=allow)
