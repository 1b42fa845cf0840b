"""Memory to build a sharded model: only the first rank holds all of it, and none in float32."""

import threading
from pathlib import Path

import pytest
import torch
from tests.ranks import on_ranks

MB = 2**20


def stored_model(folder):
    """Writes random weights in bfloat16; returns their size in bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32000,
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=8,
                num_attention_heads=8,
            )
        ).to(torch.bfloat16)
    model.to_empty(device="cpu")
    for weight in model.parameters():
        weight.data.uniform_(-0.02, 0.02)
    model.save_pretrained(folder)
    return sum(2 * weight.numel() for weight in model.parameters())


def settings(folder):
    """A configuration that asks for float32 although the weights are stored in bfloat16."""

    def part(name, **arguments):
        return {"class_path": f"foveal.{name}", "init_args": arguments}

    tower = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "patch_size": 8, "image_size": 32, "layers": [-1]}
    network = part(
        "models.VisionLanguageModel",
        encoder=part("encoders.VisionTransformer", **tower),
        connector=part("connectors.MlpProjector"),
        language_model=part("models.pretrained_language_model", name_or_folder=folder, dtype="float32"),
        tokenizer=part("models.byte_tokenizer"),
        plan=part("models.PadToSquare", size=32),
    )
    return {"network": network, "encoder_lr": None, "connector_lr": 1e-3, "language_model_lr": None}


def own_memory():
    """Resident bytes of this process, including memory-mapped files, through which weights are read."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


class Peak:
    """Measures peak memory inside the context."""

    def __enter__(self):
        self.before, self.most, self.ended = own_memory(), 0, threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def _watch(self):
        while not self.ended.wait(0.002):
            self.most = max(self.most, own_memory() - self.before)

    def __exit__(self, *_):
        self.ended.set()
        self.watch.join()


def taken(folder, logs):
    """Peak bytes while the model is built, bytes of this rank's shards, and the largest difference from the file."""
    import lightning.pytorch as pl
    from safetensors.torch import load_file

    from recipes.commands.sharded_module import with_source
    from recipes.estimates.shapes import shapes_of
    from recipes.module import Finetuning
    from recipes.sharding import Sharded

    made = with_source(shapes_of(Finetuning, settings(folder)).built, settings(folder))
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=Sharded(),
        limit_train_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=logs,
    )
    with Peak() as peak:
        trainer.fit(made, torch.utils.data.DataLoader([0]))
    weights = dict(made.network.language_model.named_parameters())
    shards = sum(weight.to_local().nbytes for weight in weights.values())
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    stored = load_file(f"{folder}/model.safetensors")
    assert all(torch.equal(weight.full_tensor(), stored[name].float()) for name, weight in weights.items())
    return peak.most, shards


@pytest.mark.slow
def test_one_copy_in_the_stored_dtype_at_most(tmp_path):
    (stored,) = on_ranks(1, stored_model, str(tmp_path / "model"))
    (first, shards), (second, others) = on_ranks(2, taken, str(tmp_path / "model"), str(tmp_path))
    print(f"stored {stored / MB:.0f} MB; first {first / MB:.0f} with {shards / MB:.0f} of shards; ", end="")
    print(f"second {second / MB:.0f} with {others / MB:.0f} of shards")
    assert shards + others == 2 * stored
    # Besides shards, the second rank holds one weight at a time, the first the stored model (half of float32).
    assert second < others + 0.6 * stored
    assert first < shards + 1.6 * stored
