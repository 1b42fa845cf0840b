"""Supported strategies and precisions, and weights in 16 bits."""

import pytest
import torch

from foveal.models import llama
from recipes.commands.sharded_module import stored_dtypes
from recipes.sharding import Sharded
from recipes.trainer.half_precision import HalfWeights
from recipes.trainer.supported import check_supported

SHARDED = {"class_path": "recipes.sharding.Sharded"}
DDP = {"class_path": "lightning.pytorch.strategies.DDPStrategy"}


@pytest.mark.parametrize("strategy", ["auto", "ddp", SHARDED, DDP])
@pytest.mark.parametrize("precision", [None, "32-true", 32, "bf16-mixed", "bf16", "bf16-true"])
def test_what_runs(strategy, precision):
    check_supported({"strategy": strategy, "precision": precision})


@pytest.mark.parametrize(
    ("strategy", "precision", "said"),
    [
        ("fsdp", None, r"strategy fsdp is torch's FSDP1.* scale/fsdp\.yaml"),
        ({"class_path": "lightning.pytorch.strategies.FSDPStrategy"}, None, "strategy FSDPStrategy is torch's FSDP1"),
        ("model_parallel", None, "leaves sharding to the model"),
        ("deepspeed_stage_2", "bf16-mixed", "strategy deepspeed_stage_2: DeepSpeed keeps gradients where"),
        ("auto", "16-true", "precision 16-true: in float16 AdamW's epsilon"),
        (SHARDED, 16, "precision 16-mixed scales losses"),
    ],
)
def test_what_is_refused(strategy, precision, said):
    with pytest.raises(ValueError, match=said):
        check_supported({"strategy": strategy, "precision": precision})


def test_angles_of_positions_stay_exact():
    model = llama(10, width=16, depth=1, heads=2, mlp_width=16)
    exact = model.model.rotary_emb.inv_freq.clone()
    names = [name for name, _ in model.named_buffers()]
    HalfWeights("bf16-true").convert_module(model)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)
    assert [name for name, _ in model.named_buffers()] == names
    assert "model.rotary_emb.inv_freq" not in model.state_dict()


def test_shards_of_one_rank_are_refused():
    with pytest.raises(ValueError, match="shard_size 1: at least 2 ranks"):
        Sharded(1)


def test_weights_are_read_as_they_are_stored():
    read = {"class_path": "foveal.models.load", "init_args": {"folder": "there", "dtype": "float32"}}
    assert stored_dtypes({"network": read, "rates": [1.0]}) == {
        "network": {"class_path": "foveal.models.load", "init_args": {"folder": "there", "dtype": "auto"}},
        "rates": [1.0],
    }
    smaller = {"name_or_folder": "there", "dtype": "bfloat16"}
    assert stored_dtypes(smaller) == smaller
