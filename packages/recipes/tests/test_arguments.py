"""What is done with the command line before the parser sees it."""

import pytest
import yaml

from recipes.arguments import ALLOWED_IMPORTS, CONFIGS, UsageError, find_config, prepare, shipped_configs


def test_shipped_configurations():
    assert set(shipped_configs()) == {
        "data/llava.yaml",
        "llava.yaml",
        "llava/13b.yaml",
        "llava/7b.yaml",
        "llava/finetune.yaml",
        "llava/pretrain.yaml",
        "uhd.yaml",
        "uhd/13b.yaml",
        "uhd/finetune.yaml",
        "uhd/pretrain.yaml",
    }
    for name in shipped_configs():
        assert isinstance(yaml.safe_load((CONFIGS / name).read_text()), dict)


def test_bare_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("uhd/13b.yaml") == str(CONFIGS / "uhd" / "13b.yaml")
    (tmp_path / "uhd.yaml").touch()
    assert find_config("uhd.yaml") == "uhd.yaml"  # one here comes first


def test_arguments():
    prepared, allowed = prepare(["--config", "uhd.yaml", "--config=llava.yaml", "--allow_import", "mine", "--a.b=1"])
    assert prepared == ["--config", str(CONFIGS / "uhd.yaml"), "--config", str(CONFIGS / "llava.yaml"), "--a.b=1"]
    assert allowed == [*ALLOWED_IMPORTS, "mine"]
    prepared, _ = prepare(["--checkpoint", "there", "--config", "uhd.yaml"])
    assert prepared[2:] == ["--model.network=foveal.models.load", "--model.network.folder=there"]


def test_faults():
    with pytest.raises(
        UsageError, match=r"no such file here and none of that name is shipped: data/llava\.yaml, llava\.yaml"
    ):
        prepare(["--config", "uhdd.yaml"])
    with pytest.raises(UsageError, match="it is not fetched"):
        prepare(["--config", "https://example.org/uhd.yaml"])
    with pytest.raises(UsageError, match="--config needs a value"):
        prepare(["--config"])
