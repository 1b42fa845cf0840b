"""Two and four processes train the same as one: whole copies (DDP) and shards (FSDP2), built on the meta device."""

import pytest
import torch
from tests.ranks import on_ranks
from torch.utils.data import DataLoader

STEPS = 5
PAGES = STEPS * 4 * 2
"""For four ranks, two pages each at a time."""
CASES = {
    "adamw": {},
    "frozen encoder": {"encoder_lr": None},
    "tied tables": {"tied": True},
    "clipped": {"clip": 0.05},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "recomputed": {"checkpointing": True},
    "no pictures": {"pictures": False},
    "stacks": {"stacks": True},
    "bf16-true": {"precision": "bf16-true"},
    "lora": {"lora": True, "encoder_lr": None, "clip": 0.05},
    "lora on bf16": {"lora": True, "encoder_lr": None, "precision": "bf16-mixed", "stored_in": torch.bfloat16},
    "lora on nf4-dq": {"lora": True, "encoder_lr": None, "quantized": True},
}


def network(*, tied=False, quantized=False, stacks=False, stored_in=torch.float32):
    from foveal.connectors import MlpProjector, SpatialResampler
    from foveal.encoders import VisionTransformer
    from foveal.models import (
        DeepStackMerge,
        DeepStackPlan,
        UhdPlan,
        VisionLanguageModel,
        byte_tokenizer,
        llama,
        qwen3,
    )
    from foveal.models.language_models.quantize import quantize

    language_model = (qwen3 if tied else llama)(260, width=64, depth=5 if stacks else 2, heads=2, mlp_width=64)
    for weight in language_model.parameters():
        weight.data = weight.data.to(stored_in)
    if quantized:
        quantize(language_model, "nf4-dq")
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 32, layers=(-1,)),
        MlpProjector if stacks else lambda i, o: SpatialResampler(i, o, queries=4, heads=2),
        language_model,
        byte_tokenizer(),
        DeepStackPlan(size=32, crops=4) if stacks else UhdPlan(32, 8, 6),
        merge=(lambda width: DeepStackMerge(width, start_layer=1, stacks=4)) if stacks else None,
        system="",
    )


def module(
    *, lora=False, checkpointing=False, tied=False, quantized=False, stacks=False, stored_in=torch.float32, **rates
):
    """Finetuning with the losses of its micro-batches kept."""
    from foveal.models.lora import Lora
    from recipes.module import Finetuning

    class Recorded(Finetuning):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.losses.append(loss.item())
            return loss

    torch.manual_seed(0)
    made = Recorded(
        network(tied=tied, quantized=quantized, stacks=stacks, stored_in=stored_in),
        **{"encoder_lr": 1e-3, "connector_lr": 1e-3, "language_model_lr": 1e-3, "warmup": 0.0} | rates,
        max_new_tokens=8,
        language_model_checkpointing=checkpointing,
        lora=Lora(rank=4, alpha=8, dropout=0.0) if lora else None,
    )
    made.losses = []
    return made


def batches(processor, pictures=True):
    """Micro-batches of two pages of several shapes; without pictures, every second one is text only."""
    from foveal.models import Turn
    from recipes.data.dataset import PageDataset
    from recipes.data.pages import PageSettings

    pages = PageDataset(PageSettings(), processor, seed=0, size=PAGES, easy_until=0.0, hard_from=0.1)
    texts = [[Turn("user", f"What is {n}?"), Turn("assistant", str(n))] for n in range(PAGES)]
    return [
        processor.collate(
            [
                pages[number] if pictures or start % 4 == 0 else processor.encode([], texts[number], key="text")
                for number in (start, start + 1)
            ]
        )
        for start in range(0, PAGES, 2)
    ]


def questions(processor, numbers):
    from recipes.data.dataset import PageQuestions
    from recipes.data.eval_batch import collate_questions
    from recipes.data.pages import PageSettings

    asked = PageQuestions(PageSettings(), seed=1, size=8)
    return [collate_questions([asked[number]], processor) for number in numbers]


def built(strategy, options):
    """With a sharded strategy as shapes, with a source of weights; quantised modules are always built whole."""
    if strategy == "fsdp2" and not options.get("quantized"):
        with torch.device("meta"):
            made = module(**options)
        made.source = lambda: module(**options)
        return made
    return module(**options)


def fitted(strategy, size, options, folder, *, accumulated=1):
    import lightning.pytorch as pl

    from recipes.sharding import Sharded, whole_state
    from recipes.trainer.half_precision import HalfWeights

    options = dict(options)
    precision, clip = options.pop("precision", "32-true"), options.pop("clip", None)
    pictures, shard_size = options.pop("pictures", True), options.pop("shard_size", None)
    made = built(strategy, options)
    processor = made.network.processor
    halves = precision in ("bf16-true", "16-true")
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=size,
        strategy={"fsdp2": Sharded(shard_size), "ddp": "ddp", "one": "auto"}[strategy],
        precision=None if halves else precision,
        plugins=[HalfWeights(precision)] if halves else None,
        gradient_clip_val=clip,
        max_steps=STEPS,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
        accumulate_grad_batches=accumulated,
    )
    rank = trainer.global_rank
    trainer.fit(made, DataLoader(batches(processor, pictures)[rank::size], batch_size=None))
    state = whole_state(made.network)
    if state is None and rank == 0 and strategy != "fsdp2":
        state = {name: tensor.detach().cpu() for name, tensor in made.network.state_dict().items()}
    return made, state


def trained(strategy, size, cases, folder, accumulated=1):
    """For each case, the losses of this rank's micro-batches and, on the first rank, the whole weights."""
    results = {}
    for name, options in cases.items():
        made, state = fitted(strategy, size, options, folder, accumulated=accumulated)
        results[name] = made.losses, state
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Every case with one process that accumulates, and with two, with copies and with shards."""
    folder = str(tmp_path_factory.mktemp("ranks"))
    (one,) = on_ranks(1, trained, "one", 1, CASES, folder, 2)
    return one, {strategy: on_ranks(2, trained, strategy, 2, CASES, folder) for strategy in ("ddp", "fsdp2")}


def compare(one, ranks, tolerance):
    losses, state = one
    together = [loss for step in zip(*(losses for losses, _ in ranks), strict=True) for loss in step]
    assert torch.tensor(together) == pytest.approx(torch.tensor(losses), rel=tolerance, abs=tolerance)
    assert len(losses) == STEPS * len(ranks)
    whole = ranks[0][1]
    assert whole.keys() == state.keys()
    assert all(state is None for _, state in ranks[1:])
    for name, tensor in state.items():
        if name.endswith("qkv_bias"):
            # Softmax is invariant to the bias of keys: its gradient is only rounding, which AdamW scales up.
            (query, _, value), (own_query, _, own_value) = tensor.chunk(3), whole[name].chunk(3)
            whole[name], tensor = torch.cat([own_query, own_value]), torch.cat([query, value])
        torch.testing.assert_close(whole[name], tensor, rtol=0, atol=tolerance, msg=lambda text, name=name: name + text)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_as_one_process(results, strategy, name):
    one, two = results
    compare(one[name], [rank[name] for rank in two[strategy]], 5e-3 if "bf16" in name else 1e-6)


@pytest.mark.slow
def test_two_copies_of_two_shards_each(tmp_path):
    cases = {"clipped": {"clip": 0.05, "tied": True}, "lora on nf4-dq": CASES["lora on nf4-dq"]}
    (one,) = on_ranks(1, trained, "one", 1, cases, str(tmp_path), 4)
    copies = {name: options | {"shard_size": 2} for name, options in cases.items()}
    four = on_ranks(4, trained, "fsdp2", 4, copies, str(tmp_path))
    for name in cases:
        # Four ranks do not add in the same order as one process.
        compare(one[name], [rank[name] for rank in four], 1e-5)


def answered(strategy, size, folder):
    """Answers before and after training; the first rank may stop after any token, the others never do."""
    import lightning.pytorch as pl

    from foveal.models import Processor
    from recipes.sharding import Sharded

    made = built(strategy, {})
    processor = made.network.processor
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=size,
        strategy=Sharded() if strategy == "fsdp2" else "auto",
        accumulate_grad_batches=2 if strategy == "one" else 1,
        max_steps=2,
        val_check_interval=1 if strategy == "fsdp2" else 2,
        num_sanity_val_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    said = []
    asked = {rank: questions(processor, [number])[0] for rank, number in enumerate((0, 5))}
    stops = {0: list(range(260)), 1: [260]}

    def step(batch, batch_idx):
        texts = []
        for rank in (0, 1) if strategy == "one" else (trainer.global_rank,):
            Processor.stop_ids = stops[rank]  # of this process, which ends with the test
            texts += type(made).validation_step(made, asked[rank], batch_idx)
        said.append(texts)

    made.validation_step = step
    train = DataLoader(batches(processor)[trainer.global_rank :: size], batch_size=None)
    trainer.fit(made, train, DataLoader([0], batch_size=None))
    trainer.validate(made, DataLoader([0], batch_size=None), verbose=False)
    return said


@pytest.mark.slow
def test_ranks_whose_answers_end_at_other_times_wait_for_each_other(tmp_path):
    (one,) = on_ranks(1, answered, "one", 1, str(tmp_path))
    first, second = on_ranks(2, answered, "fsdp2", 2, str(tmp_path))
    assert len(one) == 4
    assert [a + b for a, b in zip(first, second, strict=True)] == one


def faults():
    """The error on this rank if a network cannot be filled."""
    from lightning.fabric.utilities.distributed import _init_dist_connection
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment
    from torch.distributed.device_mesh import init_device_mesh

    from recipes.sharding import shard_network
    from recipes.sharding.build import fill

    _init_dist_connection(TorchElasticEnvironment(), "gloo")

    def unreadable():
        raise OSError("there is no such file")

    said = []
    for source in (unreadable, lambda: network(tied=True)):
        with torch.device("meta"):
            shapes = network()
        shard_network(shapes, init_device_mesh("cpu", (2,)))
        shapes.to_empty(device="cpu")
        with pytest.raises((OSError, ValueError)) as error:
            fill(shapes, source)
        said.append(str(error.value))
    mixed = network()
    mixed.connector.to(torch.bfloat16)
    with pytest.raises(ValueError, match="trained together need one dtype"):
        shard_network(mixed, init_device_mesh("cpu", (2,)))
    return said


@pytest.mark.slow
def test_all_ranks_are_told_why_a_network_cannot_be_filled():
    first, second = on_ranks(2, faults)
    assert first[0] == "there is no such file"
    assert second[0] == "the first rank could not build the model: there is no such file"
    assert first[1] == second[1]
    assert "the model as shapes and the model with weights differ in" in first[1]
