"""What is done with the command line before the parser sees it."""

from pathlib import Path

import pytest
import yaml

from recipes.command_line.arguments import ALLOWED_IMPORTS, CONFIGS, UsageError, find_config, prepare, shipped_configs


def test_shipped_configurations():
    names = shipped_configs()
    assert {"laptop.yaml", "llava.yaml", "uhd.yaml", "llava/7b.yaml", "uhd/13b.yaml", "data/llava.yaml"} <= set(names)
    for name in names:
        assert isinstance(yaml.safe_load(Path(find_config(name)).read_text()), dict)


def test_bare_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("uhd/13b.yaml") == str(CONFIGS / "sizes/uhd/13b.yaml")
    (tmp_path / "uhd.yaml").touch()
    assert find_config("uhd.yaml") == "uhd.yaml"  # one here comes first


def test_arguments():
    typed = prepare(["--config", "uhd.yaml", "--config=llava.yaml", "--allow_import", "mine", "--a.b=1"])
    prepared = list(typed.arguments)
    configs = [argument for argument in prepared if argument.endswith(".yaml")]
    assert configs == [find_config(name) for name in ("laptop.yaml", "uhd.yaml", "llava.yaml")]
    assert prepared == [word for config in configs for word in ("--config", config)] + ["--a.b=1"]
    assert typed.allowed == (*ALLOWED_IMPORTS, "mine")
    assert typed.name == "uhd"
    assert prepare([]).name == "run"
    prepared = list(prepare(["--checkpoint", "there", "--config", "uhd.yaml"]).arguments)
    own = [f"--model.network.{name}=null" for name in ("plan", "template", "max_length")]
    assert prepared[4:] == ["--model.network=foveal.models.load", "--model.network.folder=there", *own]


def test_faults():
    with pytest.raises(
        UsageError, match=r"none of that name is shipped; did you mean uhd\.yaml\? Methods: convllava\.yaml"
    ):
        prepare(["--config", "uhdd.yaml"])
    with pytest.raises(UsageError, match="it is not fetched"):
        prepare(["--config", "https://example.org/uhd.yaml"])
    with pytest.raises(UsageError, match="--config needs a value"):
        prepare(["--config"])


def test_the_laptop_comes_before_everything(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.touch()
    prepared = list(prepare(["--config", str(mine), "--config", "uhd.yaml", "--a=1"]).arguments)
    configs = [find_config("laptop.yaml"), str(mine), find_config("uhd.yaml")]
    assert prepared == [word for config in configs for word in ("--config", config)] + ["--a=1"]
    alone = list(prepare(["--config", str(mine)]).arguments)
    assert alone == ["--config", str(mine)]


def test_what_is_typed_wins_over_the_checkpoint():
    prepared = list(
        prepare(["--checkpoint", "there", "--config", "uhd.yaml", "--model.network.max_length=99"]).arguments
    )
    assert prepared.index("--model.network.max_length=null") < prepared.index("--model.network.max_length=99")
    assert prepared.index(find_config("uhd.yaml")) < prepared.index("--model.network=foveal.models.load")


@pytest.mark.parametrize("overlay", ["quant/nf4.yaml", "quant/nf4_checkpoint.yaml"])
def test_a_checkpoint_is_quantised_by_either_overlay(overlay):
    """Left where it was, the overlay would be about the network that the checkpoint takes the place of."""
    prepared = list(
        prepare(["--config", "uhd.yaml", "--config", overlay, "--config", "lora.yaml", "--checkpoint=there"]).arguments
    )
    assert find_config(overlay) not in prepared
    assert prepared.index("--model.network.folder=there") < prepared.index("--model.network.quantize=nf4-dq")
    frozen = prepared.index("--model.language_model_lr=null")
    assert prepared.index(find_config("uhd.yaml")) < frozen < prepared.index(find_config("lora.yaml"))
    without = list(prepare(["--config", "uhd.yaml", "--config", overlay]).arguments)
    assert find_config(overlay) in without
