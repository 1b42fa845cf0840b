"""Time and memory to load a language model plain, quantised while loading, and already quantised.

`python -m tools.bench.quantize` writes a model of 1.06 billion random weights (2.1 GB, in shards of 0.5 GB) into a
temporary folder and deletes it; Linux only.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import torch
import transformers

from foveal.models import llama, pretrained_language_model
from foveal.models.language_models.quantize import Kind
from tools.bench.timing import machine

SHARD = "500MB"
SIZES = {"width": 2048, "depth": 18, "heads": 16, "mlp_width": 5632}


def main() -> None:
    """Print the table."""
    transformers.utils.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a small model and one kind, to check that everything runs")
    parser.add_argument(
        "--measure", nargs="+", metavar=("FOLDER", "KIND"), help="measure only this; save it in a third folder"
    )
    given = parser.parse_args()
    if given.measure is not None:
        measure(Path(given.measure[0]), *given.measure[1:])
        return
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        plain = Path(temporary) / "plain"
        _write(plain, tiny=given.tiny)
        print("\na new process each; memory is the peak of the process, less what it was before\n")
        print("| | seconds | peak | the model itself | on disk |\n|---|---|---|---|---|")
        _row("plain", plain)
        for kind in get_args(Kind)[: 1 if given.tiny else None]:
            folder = plain.with_name(kind)
            _row(f"quantised as {kind} while loading", plain, kind, str(folder))
            _row(f"reloaded as {kind}", folder)
            for file in folder.iterdir():
                file.unlink()


def measure(folder: Path, kind: Any = None, output: str | None = None) -> None:
    """Print seconds, peak and size in MB of loading `folder`, as one row; then save the model if requested."""
    before = warmed_up()
    start = time.perf_counter()
    model: Any = pretrained_language_model(str(folder), quantize=kind)
    # Pages of a mapped file count once they are used.
    size = sum(tensor.nbytes for tensor in model.state_dict().values() if tensor.max() is not None)
    seconds = time.perf_counter() - start
    peak = memory("VmHWM") - before
    if output is not None:
        model.save_pretrained(output, max_shard_size=SHARD)
    disk = sum(file.stat().st_size for file in Path(output or folder).glob("*.safetensors"))
    print(f"{seconds:.1f} s | {peak / 1e6:.0f} MB | {size / 1e6:.0f} MB | {disk / 1e6:.0f} MB |")


def _row(name: str, *arguments: object) -> None:
    command = [sys.executable, "-m", "tools.bench.quantize", "--measure", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    print(f"| {name} | {done.stdout.strip()}", flush=True)


def _write(folder: Path, *, tiny: bool) -> None:
    sizes = {"width": 64, "depth": 2, "heads": 1, "mlp_width": 64} if tiny else SIZES
    with torch.device("meta"):
        model: Any = llama(512 if tiny else 32000, **sizes).bfloat16()
    model = model.to_empty(device="cpu")
    for weight in model.parameters():
        weight.data.normal_(std=0.02)
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder, max_shard_size=SHARD)


def warmed_up() -> int:
    """Bytes of this process before anything is loaded, after all imports; the peak is reset."""
    with tempfile.TemporaryDirectory() as small:
        llama(64, width=64, depth=1, heads=1, mlp_width=64).save_pretrained(small)  # type: ignore[operator]
        pretrained_language_model(small, quantize="nf4-dq")
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(field: str, process: int | str = "self") -> int:
    """Bytes of a process, by default of this one, as counted by the system."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main()
