"""Misspelt settings, found without importing the classes that they configure."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.command_line.arguments import QUANTISED, prepare
from recipes.command_line.configurations import CONFIGS, UsageError, find_config, shipped_configs
from recipes.command_line.spelling import COMMANDS, TYPED, check_spelling
from recipes.commands.cost import CostCommand
from recipes.commands.fit import FitCommand
from recipes.commands.validate import ValidateCommand
from recipes.run.log import RunLog
from recipes.states import Signals


def check(*arguments, command="fit"):
    check_spelling(prepare(arguments).arguments, command)


def shorter(name):
    """The name without its second letter, so that it abbreviates no other (argparse accepts abbreviations)."""
    return name[0] + name[2:]


def parser_of(command, subcommand):
    """The real parser of a command."""

    class ParserFoundError(Exception):
        pass

    class Stopped(command):
        def parse_arguments(self, parser, args):
            raise ParserFoundError

        def _add_subcommands(self, parser, **kwargs):
            super()._add_subcommands(parser, **kwargs)
            found.append(self._subcommand_parsers[subcommand])

    found = []
    with contextlib.suppress(ParserFoundError):
        Stopped(subcommand, prepare([]), Signals(), RunLog())
    return found[0]


@pytest.mark.parametrize(
    ("name", "command", "subcommand"),
    [("fit", FitCommand, "fit"), ("validate", ValidateCommand, "validate"), ("cost", CostCommand, "fit")],
)
def test_every_option_of_the_parser_is_known(name, command, subcommand):
    parser = parser_of(command, subcommand)
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    assert {"--trainer.max_steps", "--model.encoder_lr", "--data", "--controls", "--run"} <= set(options)
    check(*(f"{option}=uhd.yaml" for option in options), command=name)
    for option in options:
        if option.endswith((".help", "+")) or option in ("--model", "--trainer"):
            continue
        *outer, last = option.removeprefix("--").split(".")
        with pytest.raises(UsageError, match="there is no setting"):
            check("--" + ".".join([*outer, shorter(last)]) + "=1", command=name)


def test_every_setting_of_a_configuration_is_known():
    """With and without `init_args`, as the parser accepts them."""
    typed, parser = prepare(["--config", "uhd.yaml"]), parser_of(FitCommand, "fit")
    parser.expanded = frozenset(typed.expanded)
    parsed = parser.parse_args(typed.arguments)
    keys = [key for key in parsed.keys() if key not in ("config", "__default_config__")]  # noqa: SIM118
    assert "model.network.init_args.encoder.init_args.width" in keys
    named = [f"--{key}={parsed[key]}" for key in keys if key.endswith("class_path")]
    settings = [key for key in keys if not key.endswith("class_path")]
    for spelled in (settings, [key.replace(".init_args", "") for key in settings]):
        check("--config", "uhd.yaml", *(f"--{setting}=1" for setting in spelled))
        for setting in spelled:
            *outer, last = setting.split(".")
            with pytest.raises(UsageError, match="there is no setting"):
                check(*named, "--" + ".".join([*outer, shorter(last)]) + "=1")


@pytest.mark.parametrize("name", shipped_configs())
def test_shipped_configurations_are_spelled_right(name):
    # Quantisation does not fit the small language model, and the parser says so too.
    methods = dict(zip(QUANTISED, ("llava/7b.yaml", "llava/finetune.yaml"), strict=True))
    check("--config", methods.get(Path(find_config(name)), "laptop.yaml"), "--config", name)
    check("--config", "laptop.yaml", "--config", name, "--checkpoint", "folder")


ACCEPTED = [
    ["--trainer.max_step=3"],  # argparse accepts abbreviations
    ["--conf", str(CONFIGS / "data/llava.yaml"), "--data.path=a.json"],
    ["--trainer.max_time.days=1"],
    ["--data=LlavaData", "--data.path=a.json", "--data.val_limit", "-1"],
    ["--data={class_path: recipes.data.LlavaData}", "--data.path=a.json"],
    ["--data.class_path=recipes.data.LlavaData", "--data.init_args.path=a.json"],
    ["--data=mine.Data", "--data.anything=3"],
    ["--data=mine.yaml", "--data.anything=3"],
    ["--model=mine.yaml", "--model.network.folder=3"],
    ["--data.help=LlavaData"],
    ["--data.settings.digits=[1, 2]"],
    ["--model.lora.rank=3"],
    ["--model.lora.init_args.rank=3"],
    ['--model.lora={"rank": 3}'],
    ["--model.rates.connector.stages.0=1e-3"],
    ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_top_k=3"],
    ["--trainer.callbacks+", "ModelCheckpoint"],
    ["--trainer.logger=WandbLogger", "--trainer.logger.project=foveal"],
    ["--trainer.strategy=lightning.pytorch.strategies.DDPStrategy", "--trainer.strategy.bucket_cap_mb=25"],
    ["--model.network.system", "--- a text"],
    ["--model.network.system", "--text=is this"],
    ["--print_config=skip_null"],
    ["--allow_import", "mine", "--checkpoint=folder", "--model.network.dtype=float32"],
]


@pytest.mark.parametrize("arguments", ACCEPTED, ids=" ".join)
def test_what_the_parser_takes_is_let_through(arguments):
    check("--config", "uhd.yaml", *arguments)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["--trainer.max_stepz", "3"], "--trainer.max_stepz: .* did you mean --trainer.max_steps?"),
        (["--trainre.max_steps=3"], "did you mean --trainer.max_steps?"),
        (["--max_steps=3"], "did you mean --trainer.max_steps?"),
        (["--chekpoint", "folder"], "did you mean --checkpoint?"),
        (["--controlls=true"], "did you mean --controls?"),
        (["--data.pagez=3"], "did you mean --data.pages?"),
        (["--data.init_args.pagez=3"], "did you mean --data.init_args.pages?"),
        (["--data={init_args: {pagez: 3}}"], "did you mean --data.init_args.pages?"),
        (["--model.network.plan.max_slizes=3"], "did you mean --model.network.plan.max_slices?"),
        (
            ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dri=3"],
            "did you mean --trainer.logger.save_dir?",
        ),
        (["--checkpoint=folder", "--model.network.dtipe=float32"], "did you mean --model.network.dtype?"),
        (["--model.lora.zzz=3"], "there are rank, alpha, dropout"),
        (["--zzz"], "--zzz: there is no setting zzz$"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_nearest_name_is_said(arguments, nearest):
    with pytest.raises(UsageError, match=nearest.replace("?", r"\?")):
        check("--config", "uhd.yaml", *arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer:\n  max_stepz: 3\n", "trainer.max_stepz: .* did you mean trainer.max_steps"),
        ("trainer.max_stepz: 3\n", "did you mean trainer.max_steps"),
        ("trainer:\n  max_step: 3\n", "did you mean trainer.max_steps"),
        ("data:\n  init_args:\n    pagez: 3\n", "data.init_args.pagez: .* did you mean data.init_args.pages"),
        ("model:\n  network:\n    plann: 3\n", "did you mean model.network.plan"),
        ("checkpoint: folder\n", "there is no setting checkpoint"),
        (
            "trainer:\n  callbacks:\n  - class_path: recipes.run.callbacks.RandomState\n  - class_path: "
            "lightning.pytorch.callbacks.ModelCheckpoint\n    init_args:\n      save_topk: 3\n",
            r"callbacks.\[1\].init_args.save_topk: .* did you mean .*save_top_k",
        ),
    ],
)
def test_files_are_named(tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=rf"mine\.yaml: {said}" if said[0] in "td" and ":" in said else said):
        check("--config", "uhd.yaml", "--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("text", ["trainer: {1: 2}", "__path__: here", "trainer: fast", "config: a.yaml\na: 1"])
def test_strange_files_are_left_to_the_parser(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    check("--config", "uhd.yaml", "--config", str(tmp_path / "mine.yaml"))


def test_classes_of_other_people(tmp_path, monkeypatch):
    """Classes that take `**kwargs` or are not plain are left to the parser."""
    (tmp_path / "strangers.py").write_text(
        "import functools\n"
        "class Plain:\n    def __init__(self, width: int = 1): ...\n"
        "class Heir(Plain): ...\n"
        "class Open:\n    def __init__(self, width: int = 1, **rest): ...\n"
        "class Twice:\n    def __init__(self, width: int = 1): ...\n"
        "if Plain:\n    class Twice(Open): ...\n"
        "@functools.cache\ndef wrapped(width: int = 1): ...\n"
        "def closed(width: int = 1): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, is_open in [("Plain", 0), ("Heir", 0), ("closed", 0), ("Open", 1), ("Twice", 1), ("wrapped", 1)]:
        words = ["--config", "uhd.yaml", f"--model.network.encoder=strangers.{name}", "--model.network.encoder.widht=3"]
        # The configuration has its own encoder, whose names are accepted as well.
        with contextlib.nullcontext() if is_open else pytest.raises(UsageError, match=r"encoder\.width\?"):
            check(*words)
    assert "strangers" not in sys.modules


@pytest.mark.parametrize("command", [*COMMANDS, "predict", "chat"])
def test_nothing_heavy_is_imported(command, tmp_path):
    program = (
        "import runpy, sys\n"
        "try:\n"
        f"    runpy.run_module('recipes.{command}', run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'lightning', 'torch', 'transformers', 'jsonargparse', 'foveal.models'}\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
    )
    typed = ["--config", "uhd.yaml", "--trainer.max_stepz", "3"] if command in COMMANDS else ["--checkpiont", "folder"]
    words = [sys.executable, "-c", program, *typed]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == "[]\n"
    if command in COMMANDS:
        assert done.stderr.splitlines()[0].endswith("did you mean --trainer.max_steps?")
        assert len(done.stderr.splitlines()) <= 4


def test_names_that_only_prepare_knows_are_suggested():
    for name in ("checkpoint", "allow_import"):
        assert name in TYPED
        assert f"--{name}" not in prepare([f"--{name}", "something"]).arguments
