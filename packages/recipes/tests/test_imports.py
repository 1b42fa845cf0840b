"""Packages allowed by name: in every command, and in everything that opens a checkpoint."""

import sys
from importlib import import_module

import pytest
import yaml
from jsonargparse import set_parsing_settings

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama, save
from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import UsageError
from recipes.command_line.imports import ImportsError, allow_in
from recipes.commands.fit import FitCommand
from recipes.run.log import RunLog
from recipes.states import Signals

OPENING = {
    "predict": ("--checkpoint", "a", "--question", "What?"),
    "chat": ("--checkpoint", "a"),
    "export": ("a", "b"),
    "merge": ("a", "b"),
    "quantize": ("a", "b"),
    "merge_shards": ("a",),
    "serve": ("a/b",),
    "explain": ("a", "--image", "b.png", "--question", "What?"),
    "evaluate": ("a", "--benchmark", "pages"),
    "acuity": ("a", "--output", "b"),
}
"""What every command that opens a checkpoint needs besides the packages."""


@pytest.mark.parametrize("name", OPENING)
def test_every_command_takes_packages(name, monkeypatch, capsys):
    def typed(*words):
        monkeypatch.setattr(sys, "argv", [name, *OPENING[name], *words])
        return getattr(import_module(f"recipes.{name}"), f"{name}_options")().allow_import

    assert typed() == []
    assert typed("--allow_import", "mine", "--allow_import=theirs.parts") == ["mine", "theirs.parts"]
    with pytest.raises(SystemExit) as end:
        typed("--allow_import", "folder/mine.py")
    assert end.value.code == 2
    assert "argument --allow_import: 'folder/mine.py' is not the name of a package" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["*", "mine.py", "my package", "folder/mine", "", ".mine", "jsonargparse"])
def test_what_is_no_package(name):
    with pytest.raises(UsageError, match=r"--allow_import: '.*' is not the name of a package"):
        prepare(["--allow_import", name])


class Parsed(FitCommand):
    """Parse the settings of a command line; nothing is built."""

    def before_instantiate_classes(self):
        pass

    def instantiate_classes(self):
        self.model = self._get(self.config, "model").as_dict()

    def _run_subcommand(self, subcommand):
        pass


def parsed(*words):
    typed = prepare(words)
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(typed.allowed))
    return Parsed("fit", typed, Signals(), RunLog()).model


def test_the_network_of_a_checkpoint():
    words = ("--config", "uhd.yaml", "--checkpoint", "there")
    assert parsed(*words)["network"]["init_args"]["allow"] == []
    allowed = parsed(*words, "--allow_import", "mine", "--allow_import=theirs")
    assert allowed["network"]["init_args"]["allow"] == ["mine", "theirs"]


def test_an_encoder_inside_of_a_network():
    found = parsed("--config", "vary.yaml", "--config", "vary/from_tiny.yaml", "--allow_import", "mine")
    first, second = found["network"]["init_args"]["encoder"]["init_args"]["encoders"]
    assert second["class_path"] == "foveal.models.load_encoder"
    assert second["init_args"]["allow"] == ["mine"]
    assert "allow" not in first["init_args"]


@pytest.mark.parametrize(
    "path", ["foveal.models.load", "foveal.models.checkpoints.load.load", "recipes.estimates.room.load"]
)
def test_a_configuration_cannot_allow_anything_itself(tmp_path, capsys, path):
    """Whatever module the configuration imports the function from."""
    network = {"class_path": path, "init_args": {"folder": "there", "allow": ["mine", "evil"]}}
    (tmp_path / "downloaded.yaml").write_text(yaml.safe_dump({"model": {"network": network}}))
    words = ("--config", "uhd.yaml", "--config", str(tmp_path / "downloaded.yaml"), "--allow_import", "mine")
    with pytest.raises(SystemExit) as end:
        parsed(*words)
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert f"model.network: {path} would import from evil" in said[0]
    assert "add --allow_import evil if you trust it" in said[0]
    assert len(said) <= 4
    assert parsed(*words, "--allow_import", "evil")["network"]["init_args"]["allow"] == ["mine", "evil"]


def test_everything_nested_in_a_part_is_looked_at():
    nested = {"class_path": "foveal.models.load", "init_args": {"a": [{"b": {"allow": ["evil"]}}]}}
    with pytest.raises(ImportsError, match="would import from evil"):
        allow_in({"network": nested}, ["mine"])
    own = {"class_path": "collections.OrderedDict", "init_args": {"allow": ["cats"]}}
    allow_in({"network": own}, ["mine"])
    assert own["init_args"]["allow"] == ["cats"]


def test_a_run_is_merged_only_with_what_was_allowed(tmp_path, monkeypatch):
    """In merge_shards, whose settings come from a run's saved configuration."""
    from recipes.commands.sharded_module import instantiated
    from recipes.module import Finetuning

    (tmp_path / "own_plan.py").write_text("from foveal.models import PadToSquare\nclass Plan(PadToSquare): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from own_plan import Plan

    assert issubclass(Plan, PadToSquare)
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        Plan(16),
    )
    folder = str(save(model, tmp_path / "checkpoint"))
    settings = {"network": {"class_path": "foveal.models.load", "init_args": {"folder": folder}}}
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(prepare([]).allowed))
    with pytest.raises(ValueError, match="--allow_import own_plan"):
        instantiated(Finetuning, settings, packages=[])
    assert type(instantiated(Finetuning, settings, packages=["own_plan"]).network.processor.plan) is Plan
    settings["network"]["init_args"]["allow"] = ["own_plan"]
    with pytest.raises(ImportsError, match=r"model\.network: .* would import from own_plan"):
        instantiated(Finetuning, settings, packages=[])
