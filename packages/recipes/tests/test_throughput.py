"""Throughput of a training, measured with a clock that the test controls."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.profilers import SimpleProfiler
from torch.utils.data import DataLoader, Dataset

from foveal.connectors import AdaptivePool
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama
from foveal.models.estimates.cost import flops, pretended, views_of
from foveal.models.lora import Lora
from foveal.models.views.normalise import normalised
from recipes.data.dataset import PageDataset
from recipes.data.pages import PageSettings
from recipes.module import Finetuning
from recipes.progress.model_flops import model_flops
from recipes.progress.peak_flops import peak_flops
from recipes.progress.throughput import Throughput
from recipes.run.metrics_csv import MetricsCsv
from recipes.run.rows import read_rows


def network():
    torch.manual_seed(0)
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
        system="",
    )


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("recipes.progress.throughput.time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


class SlowPages(Dataset):
    """Each page takes a second."""

    def __init__(self, pages, clock):
        self.pages, self.clock = pages, clock

    def __len__(self):
        return len(self.pages)

    def __getitem__(self, index):
        self.clock.now += 1
        return self.pages[index]


class Slow(Finetuning):
    """A batch takes six seconds, plus two in the loader for its two pages; a validation takes a hundred."""

    def training_step(self, batch, batch_idx):
        self.clock.now += 6
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.clock.now += 100


class SlowToSave(Callback):
    """A state takes a thousand seconds."""

    def __init__(self, clock):
        self.clock = clock

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.clock.now += 1000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulation", [1, 2])
def test_speed_is_of_the_time_in_training(tmp_path, quiet_trainer, clock, accumulation):
    module = Slow(network(), warmup=0.0)
    module.clock = clock
    processor = module.network.processor
    pages = PageDataset(PageSettings(), processor, seed=0, size=12, easy_until=0.0, hard_from=0.0)
    profiler = SimpleProfiler()
    states = ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=1)
    trainer = quiet_trainer(
        callbacks=[states, Throughput(), SlowToSave(clock)],
        logger=MetricsCsv(tmp_path),
        max_steps=4 // accumulation,
        log_every_n_steps=2 // accumulation,
        val_check_interval=2,  # a state after the first batch is not followed by a validation
        num_sanity_val_steps=0,
        accumulate_grad_batches=accumulation,
        enable_checkpointing=True,
        profiler=profiler,
    )
    loader = DataLoader(SlowPages(pages, clock), batch_size=2, collate_fn=processor.collate)
    trainer.fit(module, loader, DataLoader(torch.zeros(1)))
    assert trainer.profiler is profiler
    assert "run_training_batch" in profiler.recorded_durations
    rows = [row for row in read_rows(tmp_path / "metrics.csv")[1] if row["speed/samples_per_second"]]
    assert len(rows) == 2
    for number, row in enumerate(rows):
        batches = [processor.collate([pages[4 * number + each + half] for each in (0, 1)]) for half in (0, 2)]
        tokens = sum(int(batch.attention_mask.sum()) for batch in batches)
        positions = sum(batch.input_ids.numel() for batch in batches)
        assert tokens < positions
        found = {name.removeprefix("speed/"): float(value) for name, value in row.items() if name.startswith("speed/")}
        assert found == pytest.approx(
            {
                "samples_per_second": 4 / 16,
                "tokens_per_second": tokens / 16,
                "visual_tokens_per_second": 4 / 16,
                "padding_share": 1 - tokens / positions,
                "data_wait_share": 4 / 16,
            }
        )


def test_a_failed_training_gives_the_profiler_back(quiet_trainer):
    class Failing(Finetuning):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("on purpose")

    module = Failing(network(), warmup=0.0)
    pages = PageDataset(PageSettings(), module.network.processor, seed=0, size=2, easy_until=0.3, hard_from=0.7)
    profiler = SimpleProfiler()
    trainer = quiet_trainer(callbacks=[Throughput()], profiler=profiler)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer.fit(module, DataLoader(pages, collate_fn=module.network.processor.collate))
    assert trainer.profiler is profiler


def counted(model):
    """Forward FLOPs of encoder, connector and decoder without the output layer, counted by operator."""
    with pretended(model) as copy:
        views = views_of(copy, [Size(672, 672)])
        encoder = flops(lambda: copy.encoder.encode_views(normalised(views, copy.encoder)))
        both = flops(lambda: copy.merged(views, [Size(672, 672)]))
        decoder = flops(lambda: copy.language_model.model(inputs_embeds=torch.zeros(1, 7, 16)))
    return encoder, both - encoder, decoder


def test_flops_are_those_that_operators_count():
    model = network()
    encoder, connector, decoder = counted(model)
    step = {"tokens": 7, "supervised": 0, "squares": 49, "pixels": 256}
    attention = 4 * 49 * 16  # counted whole by the counter, half by us
    whole = Finetuning(model, encoder_lr=1.0, connector_lr=1.0, language_model_lr=1.0)
    assert model_flops(whole.network).step(**step) == 3 * (encoder + connector + decoder - attention / 2)
    stage_1 = Finetuning(network(), connector_lr=1.0)
    assert model_flops(stage_1.network).step(**step) == pytest.approx(
        encoder + 3 * connector + 2 * (decoder - attention) + 3 * attention / 2
    )
    assert model_flops(model).per_supervised == 3 * 2 * 16 * 260


def test_adapters_count_beside_their_frozen_base():
    plain = model_flops(Finetuning(network(), connector_lr=1.0).network)
    rank = 4
    adapters = model_flops(
        Finetuning(
            network(), connector_lr=1.0, language_model_lr=1.0, lora=Lora(rank=rank, alpha=8, dropout=0.0)
        ).network
    )
    assert adapters.per_token - plain.per_token == 3 * 2 * 7 * rank * (16 + 16)
    assert adapters.per_pixel == plain.per_pixel


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA RTX 6000 Ada Generation", 364.2e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_cards(name, peak):
    assert peak_flops(name) == peak


@pytest.mark.parametrize("packed", [False, True])
def test_mfu_and_ranks(monkeypatch, clock, packed):
    """Two ranks with the same batch: rates add up, shares stay the same."""
    monkeypatch.setattr("recipes.progress.throughput.peak_flops", lambda name: 1e6)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "card")
    model = network()
    processor = model.processor
    dataset = PageDataset(PageSettings(), processor, seed=0, size=4, easy_until=0.0, hard_from=0.0)
    pages = [dataset[0], dataset[1]]
    batch = processor.collate_packed([pages], 900) if packed else processor.collate(pages)
    lengths = [len(page.input_ids) for page in pages]
    logged = {}
    module = SimpleNamespace(network=model, log_dict=lambda values, **options: logged.update(values))
    for ranks in (1, 2):
        strategy = SimpleNamespace(
            root_device=torch.device("cpu"), reduce=lambda message, reduce_op, ranks=ranks: message * ranks
        )
        trainer = SimpleNamespace(
            strategy=strategy, profiler=SimpleProfiler(), global_step=0, log_every_n_steps=1, world_size=ranks
        )
        callback = Throughput()
        callback.on_train_start(trainer, module)
        callback._peak, callback._flops = 1e6, model_flops(model)
        clock.now += 2
        trainer.global_step = 1
        callback.on_train_batch_end(trainer, module, None, batch, 0)
        needed = model_flops(model).step(
            tokens=sum(lengths),
            supervised=int((batch.labels != -100).sum()),
            squares=sum(length**2 for length in lengths),
            pixels=2 * 16 * 16,
        )
        assert logged["speed/samples_per_second"] == pytest.approx(ranks)
        assert logged["speed/mfu"] == pytest.approx(needed / 2 / 1e6)
