"""What is done with the command line before the parser sees it."""

import pytest
import yaml

from recipes.arguments import ALLOWED_IMPORTS, CONFIGS, UsageError, find_config, prepare, shipped_configs


def test_shipped_configurations():
    names = shipped_configs()
    assert {"laptop.yaml", "llava.yaml", "uhd.yaml", "llava/7b.yaml", "uhd/13b.yaml", "data/llava.yaml"} <= set(names)
    for name in names:
        assert isinstance(yaml.safe_load((CONFIGS / name).read_text()), dict)


def test_bare_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("uhd/13b.yaml") == str(CONFIGS / "uhd" / "13b.yaml")
    (tmp_path / "uhd.yaml").touch()
    assert find_config("uhd.yaml") == "uhd.yaml"  # one here comes first


def test_arguments():
    prepared, allowed = prepare(["--config", "uhd.yaml", "--config=llava.yaml", "--allow_import", "mine", "--a.b=1"])
    configs = [argument for argument in prepared if argument.endswith(".yaml")]
    assert configs == [str(CONFIGS / name) for name in ("laptop.yaml", "uhd.yaml", "llava.yaml")]
    assert prepared == [word for config in configs for word in ("--config", config)] + ["--a.b=1"]
    assert allowed == [*ALLOWED_IMPORTS, "mine"]
    prepared, _ = prepare(["--checkpoint", "there", "--config", "uhd.yaml"])
    assert prepared[4:] == ["--model.network=foveal.models.load", "--model.network.folder=there"]


def test_faults():
    with pytest.raises(
        UsageError, match=r"none of that name is shipped; did you mean uhd\.yaml\? Methods: convllava\.yaml"
    ):
        prepare(["--config", "uhdd.yaml"])
    with pytest.raises(UsageError, match="it is not fetched"):
        prepare(["--config", "https://example.org/uhd.yaml"])
    with pytest.raises(UsageError, match="--config needs a value"):
        prepare(["--config"])
