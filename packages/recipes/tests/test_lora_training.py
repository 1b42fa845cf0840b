"""Training with LoRA: what is trained at which rate, and what is refused."""

import pytest
import torch
from torch.utils.data import DataLoader

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from foveal.models.lora import Lora
from recipes.data.dataset import PageDataset
from recipes.data.pages import PageSettings
from recipes.module import Finetuning
from recipes.run.saving import checkpoint_of

SMALL = Lora(rank=4, alpha=8, dropout=0.05)


def module(plan=None, merge=None, **options):
    torch.manual_seed(0)
    network = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=1 if merge is None else 3, heads=2, mlp_width=16),
        byte_tokenizer(),
        plan or PadToSquare(16),
        merge=merge,
        system="",
    )
    rates = {"connector_lr": 2e-5, "language_model_lr": 2e-4, "warmup": 0.0, "lora": SMALL}
    return Finetuning(network, **rates | options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_and_connector_move(quiet_trainer, checkpointing):
    ours = module(language_model_checkpointing=checkpointing)
    before = {name: weight.clone() for name, weight in ours.network.named_parameters()}
    processor = ours.network.processor
    pages = PageDataset(PageSettings(), processor, seed=0, size=4, easy_until=0.3, hard_from=0.7)
    trainer = quiet_trainer(max_steps=2)
    trainer.fit(ours, DataLoader(pages, batch_size=2, collate_fn=processor.collate))
    moved = {name for name, weight in ours.network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if ".lora_" in name or name.startswith("connector.")}


def test_rates_of_their_own():
    ours = module()

    class Steps:
        estimated_stepping_batches = 100

    ours._trainer = Steps()
    groups = ours.configure_optimizers()["optimizer"].param_groups
    assert {group["name"]: group["initial_lr"] for group in groups} == {
        "connector/matrices": 2e-5,
        "connector/vectors": 2e-5,
        "language_model/matrices": 2e-4,
    }
    (adapters,) = (group for group in groups if group["name"].startswith("language_model"))
    assert sum(weight.numel() for weight in adapters["params"]) == 7 * 4 * (16 + 16)


def test_a_merge_without_weights_has_nothing_to_save():
    ours = module(DeepStackPlan(16, 2), lambda width: DeepStackMerge(width, stacks=2))
    assert not list(ours.network.merge.parameters())
    ended = module(AnyResPlan(16), AnyResMerge)
    assert ended.network.merge.newline.requires_grad


def test_what_could_not_be_saved_is_refused():
    with pytest.raises(ValueError, match=r"encoder has the learning rate 0\.0001, but with lora"):
        module(encoder_lr=1e-4)
    for inside in ("encoder.blocks", "language_model.lm_head"):
        with pytest.raises(ValueError, match=f"{inside} has the learning rate"):
            module(rates={inside: 1e-4})
    with pytest.raises(ValueError, match="nothing trains them"):
        module(language_model_lr=None)


def test_the_base_is_the_checkpoint_that_was_opened():
    opened = {"class_path": "foveal.models.load", "init_args": {"folder": "there", "quantize": "nf4"}}
    assert checkpoint_of(opened) == "there"
    assert checkpoint_of({"class_path": "foveal.models.VisionLanguageModel", "init_args": {"plan": None}}) is None
