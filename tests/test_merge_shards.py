"""A training state gives the checkpoint that its run writes at that step, or is refused by name."""

import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.fitting import SMALL

from foveal.models import load, load_adapter
from recipes.commands.merge_shards import merge

LORA = ("--config=lora.yaml", "--model.lora.rank=4", "--model.optimizer=adamw")
SHORT = (*SMALL, "--data.pages=8", "--trainer.max_epochs=1", "--states.every_steps=2")


def content(folder):
    """The bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(fit, tmp_path):
    """A training with a frozen encoder, which is not in the state."""
    assert fit(*SHORT, "--model.encoder_lr=null", "--run=run") == 0
    return tmp_path / "run"


def test_the_checkpoint_of_the_run(run, fit, tmp_path):
    wanted = content(run / "checkpoint")
    merged = merge(run)
    assert merged == {"checkpoint": run / "checkpoint-step-00000004"}
    assert content(merged["checkpoint"]) == wanted
    assert content(merge("run/states/step-00000004", tmp_path / "there")["checkpoint"]) == wanted
    # An earlier step, replacing the output of an earlier merge.
    earlier = content(merge("run/states/step-00000002", tmp_path / "there")["checkpoint"])
    changed = {name for name in wanted if earlier[name] != wanted[name]}
    assert changed == {"connector.safetensors", "language_model/model.safetensors"}
    model = load(tmp_path / "there")
    assert model.state_dict().keys() == load(run / "checkpoint").state_dict().keys()


@pytest.mark.slow
def test_weights_in_16_bits(fit, tmp_path):
    assert fit(*SHORT, "--trainer.precision=bf16-true", "--model.encoder_lr=null", "--run=run") == 0
    merged = merge("run")["checkpoint"]
    assert content(merged) == content(tmp_path / "run" / "checkpoint")
    assert load_file(merged / "encoder.safetensors").popitem()[1].dtype == torch.bfloat16


@pytest.mark.slow
def test_adapters_with_their_base(fit, tmp_path):
    assert fit(*SHORT, *LORA, "--run=run") == 0
    merged, run = merge("run"), tmp_path / "run"
    assert set(merged) == {"adapter", "base"}
    assert content(merged["base"]) == content(run / "base")
    assert alike(merged["adapter"], run / "adapter")
    load_adapter(merged["adapter"])
    assert fit(*SHORT, *LORA, "--checkpoint=run/base", "--run=again") == 0
    merged = merge("again", tmp_path / "there")
    assert set(merged) == {"adapter"}
    assert alike(merged["adapter"], tmp_path / "again" / "adapter")
    load_adapter(merged["adapter"])
    assert fit(*SHORT, *LORA[::2], "--model.lora=null", "--checkpoint=run/adapter", "--run=further") == 0
    merged = merge("further", tmp_path / "trained_further")
    assert set(merged) == {"adapter"}
    assert alike(merged["adapter"], tmp_path / "further" / "adapter")
    assert not alike(merged["adapter"], run / "adapter")
    load_adapter(merged["adapter"])


def alike(adapter, other):
    """Equal except for the name of the base's folder."""
    ours, theirs = content(adapter), content(other)
    manifests = [yaml.safe_load(files.pop("manifest.yaml")) for files in (ours, theirs)]
    for manifest in manifests:
        del manifest["base"]["folder"]
    return ours == theirs and manifests[0] == manifests[1]


def test_what_cannot_be_merged_is_refused(run, tmp_path):
    state, config = run / "states" / "step-00000004", run / "config.yaml"
    with pytest.raises(ValueError, match="run exists and holds something else"):
        merge(state, run)
    with pytest.raises(ValueError, match="holds something else"):
        merge(state, config)
    with pytest.raises(ValueError, match="there is no training state"):
        merge(tmp_path / "nowhere")
    described = config.read_text()
    for changed, words in (
        (described.replace("seed_everything: 0", "seed_everything: 1"), "frozen weights that .* describes are not"),
        (described.replace("foveal.encoders.VisionTransformer", "shutil.rmtree"), "add --allow_import shutil"),
        (described.replace("  encoder_lr: null", "  encoder_lr: 0.1"), "encoder.* is trained in this run, but was not"),
        ("a: [", "line 1: not YAML"),
        ("a: &a [*a]", "line 1: refused"),
        ("- 1", "is not a training configuration"),
    ):
        assert changed != described
        config.write_text(changed)
        with pytest.raises(ValueError, match=words) as refused:
            merge(state)
        assert len(str(refused.value).splitlines()) <= 3
    config.write_text(described)
    shutil.copytree(state, tmp_path / "elsewhere" / "states" / state.name)
    with pytest.raises(ValueError, match=r"there is no .*elsewhere/config\.yaml"):
        merge(tmp_path / "elsewhere")
    shard = state / "rank-00000-000.safetensors"
    damaged = bytearray(shard.read_bytes())
    damaged[-5] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"is damaged \(its checksum is wrong"):
        merge(state)
    assert not (run / "checkpoint-step-00000004").exists()


@pytest.mark.slow
def test_the_command(run, command):
    done = command("merge_shards", "run")
    assert done.stdout == "checkpoint: run/checkpoint-step-00000004\n"
    assert done.stderr == ""
    failed = command("merge_shards", "run", "run", code=1)
    assert len(failed.stderr.splitlines()) == 2
    assert "the following arguments are required: state" in command("merge_shards", code=2).stderr
