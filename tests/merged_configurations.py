"""Command lines with the shipped configurations, and the settings that the parser merges from each.

As a command it reads a JSON list of command lines and prints the merged settings of each, in one process. With
`--write` it rewrites the reference of `test_merged_configurations.py` from the parser's current output.
"""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
REFERENCE = Path(__file__).with_suffix(".json")
DATA, FOLDER = "--data.path=there", "--model.network.folder=there"
BOTH, TWO = ("7b", "13b"), ("pretrain", "finetune")
METHODS = {
    "convllava": (("7b",), ("pretrain", "pretrain_jointly", "finetune")),
    "deco": (("7b",), TWO),
    "deepseek_ocr2": (("3b",), ("enhance", "finetune")),
    "deepseek_vl": (("7b",), TWO),
    "deepstack_hd": (BOTH, TWO),
    "deepstack_l": (BOTH, TWO),
    "deepstack_v": (BOTH, TWO),
    "dense_connector": (BOTH, TWO),
    "got_ocr": (("580m",), ("pretrain", "joint", "finetune")),
    "internvl": (("1b", "2b", "8b"), ("pretrain", "finetune", "second_finetune")),
    "llava": (BOTH, TWO),
    "llava_hr": (("7b",), TWO),
    "llava_next": (BOTH, TWO),
    "llava_onevision": (("500m", "7b"), TWO),
    "mixture_of_features": (BOTH, TWO),
    "minicpm_v": (("1b",), TWO),
    "mmfuser": (BOTH, TWO),
    "pllava": (("7b",), ()),
    "qformer": (("7b",), TWO),
    "qwen3_vl": (("2b", "4b"), ("finetune",)),
    "uhd": (("13b",), TWO),
    "uhd_v2": (BOTH, TWO),
    "uhd_v3": (("7b",), TWO),
    "vary": (("7b",), TWO),
    "vary_tiny": (("125m",), ("pretrain",)),
}
"""Sizes and stages of every method."""
LAYERS = tuple(f"mmfuser/layers_{name}" for name in ("deep", "middle", "non_uniform", "shallow", "uniform"))
OVERLAYS = (
    *("data/llava", "log/tensorboard", "log/wandb", "lora", "quant/nf4", "quant/nf4_checkpoint"),
    *("scale/ddp", "scale/fsdp", "vary/from_tiny", "laptop"),
)
NAMES = (
    *METHODS,
    *(f"{method}/{name}" for method, (sizes, stages) in METHODS.items() for name in (*sizes, *stages)),
    *LAYERS,
    *OVERLAYS,
)
"""Every name that could be typed after `--config` before configurations extended each other, without `.yaml`."""
# Left to the command line by the files: folders with weights that have no hub name.
DECODER = ("--model.network.language_model.name_or_folder=there", "--model.network.tokenizer.name_or_folder=there")
GIVEN = {
    "uhd_v2": ("--model.network.encoder.path=there",),
    "vary_tiny": ("--model.network.encoder.path=there",),
    "vary": DECODER,
    "deepseek_ocr2": DECODER,
    "deepseek_vl": ("--model.network.encoder.high.path=there", *DECODER),
}
FROM_CHECKPOINT = ("finetune", "pretrain_jointly", "enhance", "second_finetune")
"""Stages whose network is the checkpoint of the stage before."""


def line(*names: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """A command line with configurations by name."""
    return (*(word for name in names for word in ("--config", f"{name}.yaml")), *more)


def stage_line(method: str, size: str, stage: str) -> tuple[str, ...]:
    """The command line of a stage as typed in README and docs; an empty size is left out."""
    given = (FOLDER,) if stage in FROM_CHECKPOINT else GIVEN.get(method, ()) if size else ()
    names = [method, *([f"{method}/{size}"] if size else []), f"{method}/{stage}"]
    return line(*names, more=(DATA, *given))


SIZES = [(method, size) for method, (sizes, _) in METHODS.items() for size in sizes]
STAGES = [(method, *pair) for method, (sizes, stages) in METHODS.items() for pair in product(sizes, stages)]
UNSIZED = [(method, "", stage) for method, (_, stages) in METHODS.items() for stage in stages]
LLAVA = ("llava", "llava/7b")
CHECKPOINT = "--checkpoint=there"
LINES = [
    *(line(method) for method in METHODS),
    *(line(method, f"{method}/{size}", more=GIVEN.get(method, ())) for method, size in SIZES),
    *(stage_line(*stage) for stage in (*STAGES, *UNSIZED)),
    *(line("mmfuser", f"mmfuser/{size}", layers) for size, layers in product(BOTH, LAYERS)),
    *(line("mmfuser", "mmfuser/13b", layers, "mmfuser/pretrain", more=(DATA,)) for layers in LAYERS),
    line("vary", "vary/from_tiny"),
    line("vary", "vary/from_tiny", "data/llava", more=(DATA,)),
    *(line(method, "data/llava", more=(DATA,)) for method in ("llava", "uhd", "vary_tiny")),
    line("data/llava", "llava", more=(DATA,)),
    line("llava", "lora"),
    line(*LLAVA, "lora"),
    line(*LLAVA, "llava/finetune", "lora", more=(DATA, FOLDER)),
    line(*LLAVA, "llava/finetune", "quant/nf4_checkpoint", "lora", more=(DATA, FOLDER)),
    line(*LLAVA, "quant/nf4"),
    line(*LLAVA, "quant/nf4", "lora"),
    line(*LLAVA, "llava/pretrain", "quant/nf4", more=(DATA,)),
    line("uhd", "uhd/13b", "quant/nf4"),
    line("uhd", more=(CHECKPOINT,)),
    line("uhd", "data/llava", more=(DATA, CHECKPOINT)),
    line("llava", "quant/nf4", "lora", more=(CHECKPOINT,)),
    line("llava", "quant/nf4_checkpoint", more=(CHECKPOINT,)),
    line("llava", "llava/finetune", "data/llava", "quant/nf4", "lora", more=(CHECKPOINT, DATA)),
    line(*LLAVA, "llava/pretrain", "data/llava", more=(DATA, CHECKPOINT, "--model.network.max_length=99")),
    line("uhd", "scale/fsdp"),
    line("uhd", "scale/ddp", "log/wandb", "log/tensorboard"),
    *(line(*LLAVA, "llava/pretrain", f"scale/{scale}", more=(DATA,)) for scale in ("ddp", "fsdp")),
    line("uhd", "log/tensorboard"),
    line("uhd", "log/wandb"),
]
"""Combinations of shipped methods, sizes, stages and overlays as typed in README and docs, and similar ones."""


def merged(lines: list[tuple[str, ...]]) -> list[str]:
    """The output of `--print_config` for every command line, from one parser."""
    from jsonargparse import set_parsing_settings

    from recipes.command_line.arguments import prepare
    from recipes.command_line.console import calm
    from recipes.commands.fit import FitCommand
    from recipes.run.log import RunLog
    from recipes.states import Signals

    class Parsed(FitCommand):
        def instantiate_classes(self) -> None:
            pass

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    calm()
    first = prepare(lines[0])
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(first.allowed))
    command = Parsed("fit", first, Signals(), RunLog())
    found = []
    for words in lines:
        print(*words, file=sys.stderr)  # the last word is that of an error
        typed, parser = prepare(words), command._subcommand_parsers["fit"]
        parser.expanded = frozenset(typed.expanded)
        parsed = command.parser.parse_args(["fit", *typed.arguments])["fit"]
        found.append(parser.dump(parsed, skip_unset=False, skip_validation=False))
    return found


def flat(settings, names=()):
    """Every setting by its dotted name; names inside a list are numbers."""
    inner = settings.items() if isinstance(settings, dict) else enumerate(settings)
    result = {}
    for name, value in inner:
        path = (*names, str(name))
        if (isinstance(value, dict) and value) or (isinstance(value, list) and any(isinstance(x, dict) for x in value)):
            result |= flat(value, path)
        else:
            result[".".join(path)] = value
    return result


def in_one_process(lines, folder):
    """The merged settings of every command line, flat, from a separate process.

    Raises:
        AssertionError: with the parser's message, if it refused one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.merged_configurations"],
        input=json.dumps(lines),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [flat(yaml.safe_load(text)) for text in json.loads(done.stdout.splitlines()[-1])]


def environment():
    """The environment of a test, in which this module can be imported from anywhere."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def reference():
    """The stored merged settings of every command line of `LINES`."""
    stored, result = json.loads(REFERENCE.read_text(encoding="utf-8")), {}
    for name, change in stored.items():
        before = result.get(change["from"], {})
        kept = {key: value for key, value in before.items() if key not in change.get("without", ())}
        result[name] = kept | change["with"]
    return result


def change(name, before, settings):
    """The changes from one command line's settings to those of another."""
    gone = [key for key in before if key not in settings]
    # True is not 1, and 1 is not 1.0.
    new = {key: value for key, value in settings.items() if key not in before or repr(before[key]) != repr(value)}
    return {"from": name, **({"without": gone} if gone else {}), "with": new}


def written(found):
    """The reference, in which every command line has its differences from the most similar one before it."""
    lines, before = [], {}
    for name, settings in found.items():
        changes = [change(other, before[other], settings) for other in before] or [{"from": "", "with": settings}]
        lines.append(f"{json.dumps(name)}: {json.dumps(min(changes, key=lambda each: len(json.dumps(each))))}")
        before[name] = settings
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        everything = in_one_process(LINES, ROOT)
        names = [" ".join(words) for words in LINES]
        REFERENCE.write_text(written(dict(zip(names, everything, strict=True))), encoding="utf-8")
    else:
        print(json.dumps(merged([tuple(words) for words in json.load(sys.stdin)])))
