"""Quantise a published LLaVA-1.5-7B to 4 bits while reading, save and reopen it: seconds, peak memory and answers.

`python -m tools.bench.published_7b FOLDER` writes random weights of that size under transformers' names (14 GB in
shards of 5 GB) and then their quantised form (4.5 GB) into two folders inside FOLDER, which are kept. Linux only; no
GPU is needed. `--tiny` writes a small model into a folder that it deletes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from foveal.core import whole_folder
from foveal.models import Turn, VisionLanguageModel, byte_tokenizer, load, save
from recipes.command_line.console import calm
from tools.bench.quantize import memory, warmed_up
from tools.bench.timing import machine

SHARD = 5 * 10**9
NEW_TOKENS = 4


def main() -> None:
    """Print the table."""
    calm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where both models are kept")
    parser.add_argument("--tiny", action="store_true", help="a small model, to check that everything runs")
    parser.add_argument("--measure", type=Path, nargs="+", help="only measure opening this; save it in a second folder")
    options = parser.parse_args()
    if options.measure is not None:
        measure(*options.measure)
        return
    if options.folder is None and not options.tiny:
        parser.error("the folder for 19 GB of models is missing; --tiny needs none")
    with tempfile.TemporaryDirectory() as temporary:
        tables(Path(temporary) if options.folder is None else options.folder, tiny=options.tiny)


def tables(folder: Path, *, tiny: bool) -> None:
    """Write the model if it does not exist, and print the table."""
    published, quantised = folder / "published", folder / "quantised"
    print(machine())
    if not published.exists():
        write(published, tiny=tiny)
    print("\na new process each; memory is the peak of the process, less what it was before\n")
    print("| | seconds | peak | on disk | an answer | peak | its tokens |\n|---|---|---|---|---|---|---|")
    for name, folders in (("quantised while it is read", (published, quantised)), ("opened again", (quantised,))):
        again = [sys.executable, "-m", "tools.bench.published_7b", "--measure", *map(str, folders)]
        done = subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True)
        print(f"| {name} | {done.stdout.strip()} |", flush=True)


def measure(folder: Path, output: Path | None = None) -> None:
    """Print a row about opening `folder`, quantised to 4 bits if the model is to be saved as `output`."""
    before = warmed_up()
    start = time.perf_counter()
    model = load(folder, quantize=None if output is None else "nf4-dq")
    seconds, peak = time.perf_counter() - start, memory("VmHWM") - before
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    ids = _answered(model)
    took, most = time.perf_counter() - start, memory("VmHWM") - before
    if output is not None:
        save(model, output)
    disk = sum(file.stat().st_size for file in (output or folder).rglob("*.safetensors"))
    print(f"{seconds:.0f} s | {peak / 1e9:.2f} GB | {disk / 1e9:.2f} GB | {took:.0f} s | {most / 1e9:.2f} GB | {ids}")


@torch.inference_mode()
def _answered(model: VisionLanguageModel) -> list[int]:
    """Ids of an answer about a picture; with random weights the text would be meaningless."""
    sample = model.processor.encode_prompt(
        [Image.linear_gradient("L").convert("RGB")], [Turn("user", "<image>\nWhat is this?")]
    )
    batch = model.processor.collate([sample], side="left")
    ids: torch.Tensor = model.language_model.generate(
        inputs_embeds=model.embed(batch.input_ids, batch.views, batch.sizes).embeddings,
        attention_mask=batch.attention_mask.long(),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
    )
    numbers: list[int] = ids[0].tolist()
    return numbers


def write(folder: Path, *, tiny: bool) -> None:
    """Write random weights in bf16, with at most one shard in memory."""
    width, depth, heads = (64, 2, 1) if tiny else (1024, 24, 16)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            image_size=336,
            patch_size=14,
        ),
        text_config=LlamaConfig(
            vocab_size=32064, max_position_embeddings=4096, rms_norm_eps=1e-5, **(sizes if tiny else {})
        ),
        dtype="bfloat16",
    )
    with torch.device("meta"):
        shapes = LlavaForConditionalGeneration(config).state_dict()
    with whole_folder(folder) as partial:
        config.save_pretrained(partial)
        byte_tokenizer().save_pretrained(partial)
        shards: list[list[str]] = [[]]
        size = 0
        for name, shape in shapes.items():
            size += 2 * shape.numel()
            if size > SHARD:
                shards, size = [*shards, []], 2 * shape.numel()
            shards[-1].append(name)
        files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
        for file, names in zip(files, shards, strict=True):
            save_file({name: _random(name, shapes[name]) for name in names}, partial / file)
        places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        index = {"metadata": {}, "weight_map": places}
        (partial / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _random(name: str, shape: Tensor) -> Tensor:
    weight = torch.empty(shape.shape, dtype=torch.bfloat16)
    return weight.fill_(1.0) if "norm" in name and name.endswith("weight") else weight.normal_(std=0.02)


if __name__ == "__main__":
    main()
