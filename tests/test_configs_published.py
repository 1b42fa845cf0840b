"""The published sizes and stages of every method: the contents of the files, and that the command line parses them."""

import json
import os
import subprocess
import sys
from functools import partial
from itertools import product
from typing import NamedTuple

import pytest
from torch import nn

from foveal.connectors import Chain, MlpProjector, MMFuser
from foveal.encoders import (
    CausalFlowEncoder,
    ConvNeXt,
    InverseSemanticPyramid,
    MixtureOfResolution,
    SamSiglipHybrid,
    SamViTDet,
    VisionTransformer,
    siglip_tower,
)
from recipes.command_line.configurations import CONFIGS, merged
from recipes.optimization.groups import Rates

VICUNA_SIZES, TWO_STAGES = ("7b", "13b"), ("pretrain", "finetune")
METHODS = {
    "llava_next": (VICUNA_SIZES, TWO_STAGES),
    "llava_onevision": (("500m", "7b"), TWO_STAGES),
    "deepstack_l": (VICUNA_SIZES, TWO_STAGES),
    "deepstack_v": (VICUNA_SIZES, TWO_STAGES),
    "deepstack_hd": (VICUNA_SIZES, TWO_STAGES),
    "vary_tiny": (("125m",), ("pretrain",)),
    "vary": (("7b",), TWO_STAGES),
    "deepseek_ocr2": (("3b",), ("enhance", "finetune")),
    "got_ocr": (("580m",), ("pretrain", "joint", "finetune")),
    "mmfuser": (VICUNA_SIZES, TWO_STAGES),
    "dense_connector": (VICUNA_SIZES, TWO_STAGES),
    "deco": (("7b",), TWO_STAGES),
    "qformer": (("7b",), TWO_STAGES),
    "llava_hr": (("7b",), TWO_STAGES),
    "convllava": (("7b",), ("pretrain", "pretrain_jointly", "finetune")),
    "deepseek_vl": (("7b",), TWO_STAGES),
    "internvl": (("1b", "2b", "8b"), ("pretrain", "finetune", "second_finetune")),
    "mixture_of_features": (VICUNA_SIZES, TWO_STAGES),
    "minicpm_v": (("1b",), TWO_STAGES),
    "pllava": (("7b",), ()),  # trained on videos, which are not read here
    "uhd_v2": (VICUNA_SIZES, TWO_STAGES),
    "uhd_v3": (("7b",), TWO_STAGES),
    "qwen3_vl": (("2b", "4b"), ("finetune",)),
}
FILES = sorted(path for method in METHODS for path in CONFIGS.glob(f"*/{method}/*.yaml") if path.stem != "from_tiny")
PRESETS = {
    "shallow": [1, 2, 3, 4, 23],
    "middle": [10, 11, 12, 13, 23],
    "deep": [19, 20, 21, 22, 23],
    "non_uniform": [3, 13, 18, 21, 23],
    "uniform": [3, 8, 13, 18, 23],
}


class Run(NamedTuple):
    """Samples (or packed rows) of an optimizer step, epochs, and the peak rates of encoder, connector, language model.

    The rest is the same for most.
    """

    batch: int
    epochs: int
    encoder_lr: float | None
    connector_lr: float | None
    language_model_lr: float | None
    warmup: float = 0.03
    weight_decay: float = 0.0


# LLaVA-1.5, arXiv 2310.03744, table 9; its recipe is also that of MMFuser, Dense Connector and DeCo.
ALIGN, INSTRUCT = Run(256, 1, None, 1e-3, None), Run(128, 1, None, 2e-5, 2e-5)
RUNS = {
    "llava_next/pretrain": ALIGN,  # rate: released script; batch: LLaVA-1.5's
    "llava_next/finetune": Run(128, 1, 2e-6, 1e-5, 1e-5),  # rates: released script (Qwen2-7B); batch: LLaVA-1.5's
    "llava_onevision/pretrain": ALIGN,  # rate: released script; batch: LLaVA-1.5's
    "llava_onevision/finetune": Run(256, 1, 2e-6, 1e-5, 1e-5),  # released script
    "deepstack_l/pretrain": ALIGN,  # arXiv 2406.04334, table 10, as the next five
    "deepstack_l/finetune": INSTRUCT,
    "deepstack_v/pretrain": ALIGN,
    "deepstack_v/finetune": Run(128, 1, 2e-6, 2e-5, 2e-5),
    "deepstack_hd/pretrain": ALIGN,
    "deepstack_hd/finetune": Run(128, 1, 2e-6, 2e-5, 2e-5),
    "vary_tiny/pretrain": Run(512, 3, 5e-5, 5e-5, 5e-5),  # arXiv 2312.06109
    "vary/pretrain": Run(256, 1, None, 5e-5, 5e-5),  # arXiv 2312.06109
    "vary/finetune": Run(256, 1, None, 1e-5, 1e-5),
    "deepseek_ocr2/enhance": Run(1280, 1, 5e-5, 5e-5, 5e-5),  # arXiv 2601.20552, stages 2 and 3
    "deepseek_ocr2/finetune": Run(1280, 1, None, None, 1e-6),
    "got_ocr/pretrain": Run(128, 3, 1e-4, 1e-4, 1e-4),  # arXiv 2409.01704, section 4.1
    "got_ocr/joint": Run(128, 1, 1e-4, 1e-4, 1e-4),
    "got_ocr/finetune": Run(128, 1, None, 2e-5, 2e-5),
    "mmfuser/pretrain": ALIGN,  # arXiv 2410.11829 and its released code
    "mmfuser/finetune": INSTRUCT,
    "dense_connector/pretrain": ALIGN,  # arXiv 2405.13800: LLaVA-1.5's
    "dense_connector/finetune": INSTRUCT,
    "deco/pretrain": ALIGN,  # arXiv 2405.20985: LLaVA-1.5's
    "deco/finetune": INSTRUCT,
    "qformer/pretrain": ALIGN,  # batch: arXiv 2405.20985; rate: not published, LLaVA-1.5's
    "qformer/finetune": INSTRUCT,
    "llava_hr/pretrain": ALIGN,  # arXiv 2403.03003, released code: 32 x 8
    "llava_hr/finetune": Run(128, 1, 2e-5, 2e-5, 2e-5),  # 8 x 8 x 2
    "convllava/pretrain": Run(256, 1, None, 3e-4, None),  # arXiv 2405.15738, released code and its documentation
    "convllava/pretrain_jointly": Run(256, 1, None, 2e-5, 2e-5),
    "convllava/finetune": INSTRUCT,
    "deepseek_vl/pretrain": Run(256, 1, 1e-3, 1e-3, None),  # LLaVA-1.5's; trained parts: released code
    "deepseek_vl/finetune": INSTRUCT,
    # arXiv 2412.05271 and InternVL 2.5's released scripts for 1B; then InternVL3's for 1B.
    "internvl/pretrain": Run(512, 1, None, 2e-4, None, 100 / 100_000, 0.01),
    "internvl/finetune": Run(512, 4, 4e-5, 4e-5, 4e-5, 0.03, 0.01),
    "internvl/second_finetune": Run(128, 1, None, 1e-5, 1e-5, 0.03, 0.05),
    "uhd_v2/pretrain": ALIGN,  # arXiv 2412.13871, section 4.1, and its released code; 13B: see test_what_a_stage_trains
    "uhd_v2/finetune": Run(128, 1, 2e-5, 2e-5, 2e-5),
    "uhd_v3/pretrain": Run(256, 1, 1e-5, 2e-4, None),  # arXiv 2511.21150, released code: 2 x 8 x 16 devices
    "uhd_v3/finetune": Run(128, 1, 1e-5, 2e-5, 2e-5),  # 2 x 2 x 32 devices
    "mixture_of_features/pretrain": ALIGN,  # arXiv 2401.06209, released code: 16 x 8 x 2
    "mixture_of_features/finetune": Run(176, 1, None, 2e-5, 2e-5),  # 11 x 8 x 2
    # Rates, warm-up (1000 of 2000 steps, 1000 of 10000) and decay: LLaVA-UHD v4, released code; batch: LLaVA-1.5's.
    "minicpm_v/pretrain": Run(256, 1, None, 1e-4, None, 0.5, 0.01),
    "minicpm_v/finetune": Run(128, 1, 1e-5, 1e-5, 1e-5, 0.1, 0.01),
    "qwen3_vl/finetune": Run(128, 3, None, 1e-5, 2e-7, 0.03, 0.01),  # released code: 4 x 8 x 4
}
CLIPPED = ("minicpm_v/pretrain", "minicpm_v/finetune")
"""Stages with clipped gradients and a second beta of 0.98."""


def read(name):
    return merged(f"{name}.yaml")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_sizes_and_stages(method):
    sizes, stages = METHODS[method]
    found = {path.stem for path in FILES if path.parent.name == method and not path.stem.startswith("layers_")}
    assert found == {*sizes, *stages}
    assert {f"{method}/{stage}" for stage in stages} == {name for name in RUNS if name.split("/")[0] == method}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_begins_with_its_source(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = lines[: next(number for number, line in enumerate(lines) if not line.startswith("# "))]
    assert 1 <= len(comment) <= 4
    assert "arXiv 2" in " ".join(comment) or "released code" in " ".join(comment)
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", RUNS)
def test_a_stage_is_the_published_run(name):
    config = read(name)
    model, trainer = config["model"], config["trainer"]
    batch = trainer["devices"] * config["data"]["init_args"]["batch_size"] * trainer.get("accumulate_grad_batches", 1)
    rates = model["encoder_lr"], model["connector_lr"], model["language_model_lr"]
    assert Run(batch, trainer["max_epochs"], *rates, model["warmup"], model["weight_decay"]) == RUNS[name]
    # All use AdamW; only large trained models are sharded.
    betas = [0.9, 0.98] if name in CLIPPED else [0.9, 0.999]
    assert (model["optimizer"], model["betas"]) == ("adamw", betas)
    assert trainer.get("gradient_clip_val") == (1.0 if name in CLIPPED else None)
    assert not {"max_steps", "min_steps"} & set(trainer)
    large = model["language_model_lr"] is not None and not name.startswith(("vary_tiny", "got_ocr", "minicpm_v"))
    assert trainer.get("strategy") == ({"class_path": "recipes.sharding.Sharded"} if large else None)


def test_layers_of_mmfuser():
    assert {path.stem for path in FILES if path.stem.startswith("layers_")} == {f"layers_{name}" for name in PRESETS}
    for name, layers in PRESETS.items():
        assert read(f"mmfuser/layers_{name}")["model"] == {"network": {"encoder": {"init_args": {"layers": layers}}}}
    for size in VICUNA_SIZES:
        encoder = read(f"mmfuser/{size}")["model"]["network"]["encoder"]
        assert encoder["init_args"]["layers"] == PRESETS["uniform"]


def tiny_mixture():
    fast = VisionTransformer(8, 4, 2, 8, 4, 16, layers=(-1,))
    return MixtureOfResolution(fast, ConvNeXt((8, 8), (1, 1)), fast_size=16)


def tiny_convnext():
    return ConvNeXt((8,) * 5, (1,) * 5)


def tiny_hybrid():
    high = SamViTDet(8, 2, 2, 4, 16, global_blocks=(1,), neck_width=4, downsample=(4, 8))
    return SamSiglipHybrid(high, siglip_tower(8, 2, 2, 8, 4, 16, layers=(-1,)))


def tiny_flow():
    tower = SamViTDet(8, 2, 2, 4, 16, global_blocks=(1,), neck_width=4, downsample=(4, 8))
    return CausalFlowEncoder(tower, 1, 2, 1, 8, query_sides=(1,))


def tiny_fuser():
    return Chain((8, 8), 8, stages=[partial(MMFuser, heads=2)], last=MlpProjector)


def tiny_pyramid():
    return InverseSemanticPyramid(VisionTransformer(8, 1, 2, 8, 4, 16, layers=(-1,)))


HYBRID_NEW = {"encoder.first_neck", "encoder.first_share", "encoder.high.neck", "encoder.high.convolutions"}


@pytest.mark.parametrize(
    ("files", "parts", "trained"),
    [
        (
            ["mmfuser/13b", "mmfuser/pretrain"],
            {"connector": tiny_fuser},
            {"connector.stages.0": 1e-4, "connector.last": 1e-3},
        ),
        (["mmfuser/7b", "mmfuser/pretrain"], {"connector": tiny_fuser}, {"connector": 1e-3}),
        (
            ["mmfuser/13b", "mmfuser/finetune"],
            {"connector": tiny_fuser},
            {"connector": 2e-5, "language_model": 2e-5},
        ),
        (["llava_next/7b", "llava_next/pretrain"], {}, {"connector": 1e-3}),
        (
            ["llava_next/7b", "llava_next/finetune"],
            {},
            {"encoder": 2e-6, "connector": 1e-5, "merge": 1e-5, "language_model": 1e-5},
        ),
        (["llava_onevision/7b", "llava_onevision/pretrain"], {}, {"connector": 1e-3}),
        (
            ["llava_onevision/7b", "llava_onevision/finetune"],
            {},
            {"encoder": 2e-6, "connector": 1e-5, "merge": 1e-5, "language_model": 1e-5},
        ),
        (["deepstack_hd/7b", "deepstack_hd/pretrain"], {}, {"connector": 1e-3}),
        (
            ["deepstack_hd/7b", "deepstack_hd/finetune"],
            {},
            {"encoder": 2e-6, "connector": 2e-5, "merge": 2e-5, "language_model": 2e-5},
        ),
        (
            ["llava_hr/7b", "llava_hr/pretrain"],
            {"encoder": tiny_mixture},
            {"encoder.align_fast": 1e-3, "encoder.align_slow": 1e-3, "connector": 1e-3},
        ),
        (
            ["convllava/7b", "convllava/pretrain"],
            {"encoder": tiny_convnext},
            {"encoder.stages.4": 3e-4, "connector": 3e-4},
        ),
        (
            ["convllava/7b", "convllava/pretrain_jointly"],
            {"encoder": tiny_convnext},
            {f"encoder.stages.{number}": 2e-5 for number in (2, 3, 4)} | {"connector": 2e-5, "language_model": 2e-5},
        ),
        (
            ["deepseek_ocr2/3b", "deepseek_ocr2/enhance"],
            {"encoder": tiny_flow},
            {f"encoder.{part}": 5e-5 for part in ("blocks", "norm", "queries")}
            | {"connector": 5e-5, "merge": 5e-5, "language_model": 5e-5},
        ),
        (
            ["deepseek_vl/7b", "deepseek_vl/pretrain"],
            {"encoder": tiny_hybrid},
            dict.fromkeys([*HYBRID_NEW, "connector"], 1e-3),
        ),
        (["uhd_v2/7b", "uhd_v2/pretrain"], {"encoder": tiny_pyramid}, {"connector": 1e-3}),
        (["uhd_v2/13b", "uhd_v2/pretrain"], {"encoder": tiny_pyramid}, {"connector": 2e-4}),
        (
            ["uhd_v2/13b", "uhd_v2/finetune"],
            {"encoder": tiny_pyramid},
            {"encoder.tower": 2e-5, "encoder.mix": 2e-5, "connector": 2e-5, "language_model": 2e-5},
        ),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_what_a_stage_trains(files, parts, trained):
    """In a tiny model with the same parts, every weight has the rate expected by its name."""
    model = {key: value for name in files for key, value in read(name)["model"].items()}
    merges = "merge" in read(files[0])["model"]["network"]
    network = nn.Module()
    for part in ("encoder", "connector", "language_model", *(["merge"] if merges else [])):
        network.add_module(part, parts[part]() if part in parts else nn.Sequential(nn.Linear(2, 2)))
    rates = {part: model[f"{part}_lr"] for part in ("encoder", "connector", "language_model")}
    rates |= {"merge": model["connector_lr"]} if merges else {}
    chosen = Rates(network, rates | (model.get("rates") or {}))
    chosen.freeze()
    expected = {
        name: next((rate for prefix, rate in trained.items() if f"{name}.".startswith(f"{prefix}.")), None)
        for name, _ in network.named_parameters()
    }
    actual = {
        name: chosen.rates[chosen.owner(name) or ""] if weight.requires_grad else None
        for name, weight in network.named_parameters()
    }
    assert actual == expected
    assert set(expected.values()) >= set(trained.values())


# Left to the command line by the files: folders with weights that have no hub name.
DEEPSEEK = ("--model.network.language_model.name_or_folder=there", "--model.network.tokenizer.name_or_folder=there")
GIVEN = {
    "uhd_v2": ("--model.network.encoder.path=there",),
    "vary_tiny": ("--model.network.encoder.path=there",),
    "vary": DEEPSEEK,
    "deepseek_ocr2": DEEPSEEK,
    "deepseek_vl": ("--model.network.encoder.high.path=there", *DEEPSEEK),
}
# One process for all: it builds the real parser once and parses a list of command lines.
PARSE = """
import json, sys
from jsonargparse import set_parsing_settings
from recipes.command_line.arguments import prepare
from recipes.command_line.console import calm
from recipes.run.log import RunLog
from recipes.states import Signals
from recipes.commands.fit import FitCommand

class Parsed(FitCommand):
    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass

lines = json.load(sys.stdin)
first = prepare(lines[0])
calm()
set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(first.allowed))
command = Parsed("fit", first, Signals(), RunLog())
found = []
for line in lines:
    print(*line, file=sys.stderr)
    typed = prepare(line)
    command._subcommand_parsers["fit"].expanded = frozenset(typed.expanded)
    found.append(command.parser.parse_args(["fit", *typed.arguments])["fit"].as_dict())
print(json.dumps(found, default=str))
"""


def line(*configs, given=()):
    words = [word for config in configs for word in ("--config", f"{config}.yaml")]
    return (*words, "--data.path=there", *given)


def stage_line(method, size, stage):
    loads = read(f"{method}/{stage}")["model"].get("network", {}).get("class_path") == "foveal.models.load"
    given = ("--model.network.folder=there",) if loads else GIVEN.get(method, ())
    return line(method, f"{method}/{size}", f"{method}/{stage}", given=given)


SIZES = [(method, size) for method, (sizes, _) in METHODS.items() for size in sizes]
STAGES = [(method, *pair) for method, (sizes, stages) in METHODS.items() for pair in product(sizes, stages)]
ALONE = {(method, size): line(f"{method}/{size}", "data/llava", given=GIVEN.get(method, ())) for method, size in SIZES}
ON_SMALL = {
    (method, size): line(method, f"{method}/{size}", "data/llava", given=GIVEN.get(method, ()))
    for method, size in SIZES
}
PRESET_LINES = {name: line("mmfuser", "mmfuser/13b", f"mmfuser/layers_{name}", "mmfuser/pretrain") for name in PRESETS}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """The model settings of every command line, as parsed."""
    lines = [*ALONE.values(), *ON_SMALL.values(), *(stage_line(*stage) for stage in STAGES), *PRESET_LINES.values()]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps(lines),
        cwd=tmp_path_factory.mktemp("parsed"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(lines, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "size"), SIZES)
def test_nothing_of_the_small_model_is_left_in_a_size(parsed, method, size):
    """The parser keeps arguments of the previous configuration that fit the new class, such as a vocabulary of 260."""
    network = parsed[ON_SMALL[method, size]]["model"]["network"]
    assert network == parsed[ALONE[method, size]]["model"]["network"]
    assert network["class_path"] == "foveal.models.VisionLanguageModel"
    assert network["init_args"]["system"] == ("" if method == "minicpm_v" else None)  # none: the template's own


@pytest.mark.slow
@pytest.mark.parametrize(("method", "size", "stage"), STAGES)
def test_stages_are_understood(parsed, method, size, stage):
    """Only parsed: neither the weights nor the GPUs are here."""
    model = parsed[stage_line(method, size, stage)]["model"]
    network, of_size = model["network"], parsed[ALONE[method, size]]["model"]["network"]["init_args"]
    rates = model["encoder_lr"], model["connector_lr"], model["language_model_lr"]
    assert rates == RUNS[f"{method}/{stage}"][2:5]
    plan = network["init_args"]["plan"]
    if stage in ("pretrain", "joint"):
        changed = {"plan", "template"}
        assert network["class_path"] == "foveal.models.VisionLanguageModel"
        assert {name: value for name, value in network["init_args"].items() if name not in changed} == {
            name: value for name, value in of_size.items() if name not in changed
        }
        side = 384 if method == "llava_hr" else of_size["plan"]["init_args"].get("size")
        assert plan["init_args"].get("size") == side
        assert method != "minicpm_v" or plan["init_args"] == of_size["plan"]["init_args"] | {"max_slices": 1}
    else:
        assert network["class_path"] == "foveal.models.load"
        assert (network["init_args"]["folder"], network["init_args"]["dtype"]) == ("there", "float32")
        own = None, of_size["plan"]  # none: the checkpoint's own
        pixels = {"cell": 32, "min_pixels": 12_544, "max_pixels": 451_584}
        if method == "qwen3_vl":
            assert pixels.items() <= plan["init_args"].items()
        else:
            assert plan in (own if method != "got_ocr" else ["crop_to_patches"])
        assert network["init_args"]["template"] in (None, of_size["template"])


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_layers_of_mmfuser_are_understood(parsed, name):
    encoder = parsed[PRESET_LINES[name]]["model"]["network"]["init_args"]["encoder"]
    assert encoder["class_path"] == "foveal.encoders.clip_vit"
    assert encoder["init_args"]["layers"] == PRESETS[name]
