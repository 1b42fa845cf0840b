"""Preparing the command line before the parser sees it."""

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from recipes.command_line.arguments import ALLOWED_IMPORTS, CHECKPOINT, QUANTISED, prepare
from recipes.command_line.configurations import CONFIGS, UsageError, find_config, shipped_configs, shipped_name

LAPTOP = ["every_run.yaml", "laptop.yaml", "laptop/decoder.yaml", "laptop/training.yaml"]


def configs(*arguments):
    """The names of the configurations passed to the parser, in order."""
    prepared = prepare(arguments).arguments
    return [shipped_name(Path(value)) for word, value in pairwise(prepared) if word == "--config"]


def test_shipped_configurations():
    names = shipped_configs()
    assert {"laptop.yaml", "llava.yaml", "uhd.yaml", "llava/7b.yaml", "uhd/13b.yaml", "data/llava.yaml"} <= set(names)
    assert len(names) == len(set(names))
    for name in names:
        assert isinstance(yaml.safe_load(Path(find_config(name)).read_text()), dict)


def test_bare_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("uhd/13b.yaml") == find_config("uhd/13b") == str(CONFIGS / "sizes/uhd/13b.yaml")
    assert find_config("data/llava") == find_config("data/llava.yaml") == str(CONFIGS / "data/llava.yaml")
    (tmp_path / "uhd").mkdir()
    assert find_config("uhd") == str(CONFIGS / "methods/uhd.yaml")
    (tmp_path / "uhd.yaml").touch()
    assert find_config("uhd.yaml") == find_config("uhd") == "uhd.yaml"  # a local file comes first


def test_arguments():
    typed = prepare(["--config", "uhd.yaml", "--config=deco.yaml", "--allow_import", "mine", "--a.b=1"])
    prepared = list(typed.arguments)
    assert sorted(configs(*prepared[:8])) == LAPTOP
    rest = [find_config(name) for name in ("llava.yaml", "uhd.yaml", "deco.yaml")]
    assert prepared[8:] == [word for config in rest for word in ("--config", config)] + ["--a.b=1"]
    assert typed.allowed == (*ALLOWED_IMPORTS, "mine")
    assert typed.name == "uhd"
    assert prepare([]).name == "run"
    assert prepare(["--config", "uhd/13b"]).name == "13b"
    prepared = list(prepare(["--checkpoint", "there", "--config", "uhd.yaml"]).arguments)
    assert prepared[-3:] == ["--config", str(CHECKPOINT), "--model.network.folder=there"]


def test_faults():
    with pytest.raises(
        UsageError, match=r"none of that name is shipped; did you mean uhd\.yaml\? Methods: convllava\.yaml"
    ):
        prepare(["--config", "uhdd.yaml"])
    with pytest.raises(UsageError, match="is not fetched"):
        prepare(["--config", "https://example.org/uhd.yaml"])
    for option in ("--config", "--checkpoint"):
        with pytest.raises(UsageError, match=f"{option} needs a value"):
            prepare([option])


def test_the_laptop_comes_before_everything(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.touch()
    found = configs("--a=1", "--config", str(mine), "--config", "llava.yaml", "--a=1")
    assert sorted(found[:4]) == LAPTOP
    assert found[4:] == [str(mine), "llava.yaml"]
    assert configs("--config", str(mine)) == [str(mine)]


def test_what_is_published_stands_alone():
    """A size replaces the small network, a stage the laptop training, and nothing else."""
    size, stage = ["clip_336.yaml", "vicuna_7b.yaml", "llava/7b.yaml"], ["published.yaml", "align.yaml"]
    of_laptop = ["every_run.yaml", "laptop/training.yaml", "laptop.yaml"]
    assert configs("--config", "llava", "--config", "llava/7b") == of_laptop + size
    both = configs("--config", "llava", "--config", "llava/7b", "--config", "llava/pretrain")
    assert both == ["every_run.yaml", "laptop.yaml", *size, *stage, "llava/pretrain.yaml"]
    alone = configs("--config", "llava/7b", "--config", "llava/pretrain")
    assert [name for name in alone if name != "every_run.yaml"] == [*size, *stage, "llava/pretrain.yaml"]
    small = configs("--config", "llava", "--config", "llava/pretrain")
    assert {"laptop/decoder.yaml", "llava.yaml"} < set(small)
    assert "laptop/training.yaml" not in small
    assert configs("--config", "llava/7b", "--config", "llava/pretrain", "--config", "laptop")[2:] == both[2:]
    # A part shared by sizes is not a size, and what comes after a size overrides it.
    assert "llava.yaml" in configs("--config", "llava", "--config", "vicuna_7b")
    assert "llava.yaml" in configs("--config", "llava/7b", "--config", "llava")


def test_what_is_typed_wins_over_the_checkpoint():
    prepared = list(
        prepare(["--checkpoint", "there", "--config", "uhd.yaml", "--model.network.max_length=99"]).arguments
    )
    assert prepared.index(str(CHECKPOINT)) < prepared.index("--model.network.max_length=99")
    assert prepared.index(find_config("uhd.yaml")) < prepared.index(str(CHECKPOINT))


@pytest.mark.parametrize("overlay", ["quant/nf4.yaml", "quant/nf4_checkpoint.yaml"])
def test_a_checkpoint_is_quantised_by_either_overlay(overlay):
    """Left where it was, the overlay would apply to the network that the checkpoint replaces."""
    found = configs("--config", "uhd", "--config", overlay, "--config", "lora", "--checkpoint=there")
    assert found[-5:] == ["uhd.yaml", "quant/frozen.yaml", "lora.yaml", "checkpoint.yaml", "quant/nf4_checkpoint.yaml"]
    assert Path(find_config(overlay)) in QUANTISED
    assert configs("--config", "uhd", "--config", overlay)[-2:] == ["quant/frozen.yaml", overlay]
