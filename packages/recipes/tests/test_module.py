"""Training: the loss of a step, groups of weights, the schedule, what is frozen."""

import json
import os
import shutil
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from foveal.connectors import AdaptivePool, MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    PadToSquare,
    Processor,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    qwen3,
)
from recipes.data.dataset import PageDataset
from recipes.data.pages import PageSettings
from recipes.module import Finetuning, NonFiniteLossError
from recipes.optimization.groups import Rates
from recipes.run.callbacks import NonFiniteReport


def network():
    torch.manual_seed(0)
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=2, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
        system="",
    )


def module(**options):
    return Finetuning(
        network(), **{"encoder_lr": 1e-2, "connector_lr": 1e-2, "language_model_lr": 1e-2, "warmup": 0.0} | options
    )


def trained(batch_size, accumulation, quiet_trainer, collate=Processor.collate, **options):
    """After one optimizer step on the same four pages."""
    ours = module(**options)
    processor = ours.network.processor
    pages = PageDataset(PageSettings(), processor, seed=0, size=4, easy_until=0.3, hard_from=0.7)
    loader = DataLoader(pages, batch_size=batch_size, collate_fn=partial(collate, processor))
    trainer = quiet_trainer(max_steps=1, accumulate_grad_batches=accumulation)
    gradients = {}
    ours.on_before_zero_grad = lambda optimizer: gradients.update(
        {name: weight.grad.clone() for name, weight in ours.network.named_parameters() if weight.grad is not None}
    )
    trainer.fit(ours, loader)
    return ours, gradients


@pytest.mark.filterwarnings("ignore")
def test_a_step_is_the_same_however_it_is_cut(quiet_trainer):
    _, whole = trained(4, 1, quiet_trainer)
    _, halves = trained(2, 2, quiet_trainer)
    _, singles = trained(1, 4, quiet_trainer)
    _, packed = trained(4, 1, quiet_trainer, lambda self, pages: self.collate_packed([pages[:3], pages[3:]], 400))
    _, packed_singly = trained(2, 2, quiet_trainer, lambda self, pages: self.collate_packed([pages], 300))
    for others in (halves, singles, packed, packed_singly):
        assert set(whole) == set(others)
        for name, gradient in whole.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_step_is_the_same_with_compiled_layers(quiet_trainer):
    ours, whole = trained(4, 1, quiet_trainer)
    compiled, gradients = trained(4, 1, quiet_trainer, compile_layers=True)
    assert ["forward" in vars(layer) for layer in compiled.network.language_model.model.layers] == [True, False]
    assert not any("forward" in vars(layer) for layer in ours.network.language_model.model.layers)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_gradient_is_that_of_the_mean_over_supervised_tokens(quiet_trainer):
    _, gradients = trained(2, 2, quiet_trainer)
    again = network()
    pages = PageDataset(PageSettings(), again.processor, seed=0, size=4, easy_until=0.3, hard_from=0.7)
    loss = again.loss(again.processor.collate([pages[number] for number in range(4)]))
    (loss.total / loss.tokens).backward()
    for name, weight in again.named_parameters():
        if name in gradients:
            torch.testing.assert_close(gradients[name], weight.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_frozen_parts_do_not_move(quiet_trainer):
    before = {name: weight.clone() for name, weight in network().named_parameters()}
    ours, _ = trained(4, 1, quiet_trainer, encoder_lr=None, language_model_lr=None)
    moved = {
        name.split(".")[0] for name, weight in ours.network.named_parameters() if not torch.equal(weight, before[name])
    }
    assert moved == {"connector"}


def test_groups_of_weights():
    ours = module(encoder_lr=None, connector_lr=1e-3, language_model_lr=2e-5, weight_decay=0.1)

    class Steps:
        estimated_stepping_batches = 100

    ours._trainer = Steps()
    groups = ours.configure_optimizers()["optimizer"].param_groups
    assert {group["name"]: (group["initial_lr"], group["weight_decay"]) for group in groups} == {
        "connector/matrices": (1e-3, 0.1),
        "connector/vectors": (1e-3, 0.0),
        "language_model/matrices": (2e-5, 0.1),
        "language_model/vectors": (2e-5, 0.0),
    }
    for group in groups:
        assert all((weight.ndim > 1) == group["name"].endswith("matrices") for weight in group["params"])
    trained_weights = sum(len(group["params"]) for group in groups)
    assert trained_weights == sum(weight.requires_grad for weight in ours.network.parameters())


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_samples(tmp_path, quiet_trainer):
    ours = module()
    ours.network.language_model.lm_head.weight.data.fill_(float("nan"))
    processor = ours.network.processor
    pages = PageDataset(PageSettings(), processor, seed=0, size=4, easy_until=0.3, hard_from=0.7)
    trainer = quiet_trainer(max_steps=1, callbacks=[NonFiniteReport(lambda: tmp_path)])
    with pytest.raises(NonFiniteLossError, match="the loss became nan"):
        trainer.fit(ours, DataLoader(pages, batch_size=2, collate_fn=processor.collate))
    report = json.loads((tmp_path / "non_finite_loss.rank0.json").read_text())
    assert report == {"step": 0, "samples": ["page 0", "page 1"]}


def test_faults():
    with pytest.raises(ValueError, match="every part is frozen"):
        module(encoder_lr=None, connector_lr=None, language_model_lr=None)
    with pytest.raises(ValueError, match="warmup is a share"):
        module(warmup=1.5)


def test_tables_that_a_part_keeps_fixed_stay_fixed():
    given = network()
    given.encoder.positions.requires_grad_(False)
    ours = Finetuning(given, encoder_lr=1e-3)
    assert not ours.network.encoder.positions.requires_grad
    assert ours.network.encoder.class_token.requires_grad


@pytest.mark.filterwarnings("ignore")
def test_muon_takes_hidden_matrices_and_resumes(quiet_trainer):
    ours, _ = trained(4, 1, quiet_trainer, optimizer="muon")
    optimizer = ours.trainer.optimizers[0]
    hidden = {id(weight) for group in optimizer.muon.param_groups for weight in group["params"]}
    names = {name for name, weight in ours.network.named_parameters() if id(weight) in hidden}
    assert "encoder.blocks.0.qkv.weight" in names
    assert "language_model.model.layers.0.mlp.up_proj.weight" in names
    assert not names & {
        "encoder.positions",
        "language_model.lm_head.weight",
        "language_model.model.embed_tokens.weight",
    }
    assert {id(group) for group in optimizer.param_groups} == {
        id(group) for inner in (optimizer.muon, optimizer.adamw) for group in inner.param_groups
    }
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    optimizer.param_groups[0]["lr"] = 7.0
    assert optimizer.muon.param_groups[0]["lr"] == 7.0


def test_a_submodule_may_have_a_rate_of_its_own():
    ours = module(rates={"encoder.blocks": None, "encoder.blocks.0.out": 1e-4})
    trained = {name for name, weight in ours.network.encoder.blocks.named_parameters() if weight.requires_grad}
    assert trained == {"0.out.weight", "0.out.bias"}
    assert ours.network.encoder.patches.weight.requires_grad
    groups = [group for groups in ours.rates.groups(weight_decay=0.1, muon=False).values() for group in groups]
    rates = {group["name"]: group["lr"] for group in groups}
    assert rates["encoder.blocks.0.out/matrices"] == 1e-4
    assert rates["encoder/matrices"] == 1e-2
    assert sum(len(group["params"]) for group in groups) == sum(
        weight.requires_grad for weight in ours.network.parameters()
    )
    with pytest.raises(ValueError, match=r"no submodule 'encoder\.block' to give a learning rate"):
        module(rates={"encoder.block": 1e-4})
    with pytest.raises(ValueError, match="learning rate of encoder is -1"):
        module(encoder_lr=-1)


def test_names_that_begin_alike_are_not_mixed_up():
    part = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(11))
    rates = Rates(part, {"1": 1e-3, "10": None})
    rates.freeze()
    assert part[1].weight.requires_grad
    assert not part[10].weight.requires_grad
    assert not part[0].weight.requires_grad


def test_what_merges_follows_the_connector():
    given = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        llama(260, width=16, depth=2, heads=2, mlp_width=16),
        byte_tokenizer(),
        AnyResPlan(16),
        merge=AnyResMerge,
    )
    ours = Finetuning(given, connector_lr=1e-3)
    assert ours.network.merge.newline.requires_grad
    assert not any(weight.requires_grad for weight in ours.network.encoder.parameters())
    names = {group["name"] for group in ours.rates.groups(weight_decay=0.0, muon=False)["vectors"]}
    assert "merge/vectors" in names


@pytest.mark.filterwarnings("ignore")
def test_a_loaded_model_is_trained_in_training_mode(quiet_trainer):
    ours = module()
    ours.network.eval()
    modes = []
    ours.network.language_model.register_forward_hook(lambda part, *_: modes.append(part.training))
    pages = PageDataset(PageSettings(), ours.network.processor, seed=0, size=2, easy_until=0.3, hard_from=0.7)
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(ours, DataLoader(pages, batch_size=2, collate_fn=ours.network.processor.collate))
    assert modes == [True]


def test_a_tied_weight_has_one_rate():
    given = network()
    given.language_model = qwen3(260, width=16, depth=1, heads=2, mlp_width=16)
    with pytest.raises(ValueError, match=r"language_model\.lm_head\.weight is tied to a weight of another submodule"):
        Finetuning(given, rates={"language_model.lm_head": 1e-4})
