"""Messages about wrong command lines: what, where and what to do, in a few lines and in our own words."""

import os
import subprocess
import sys

import pytest

from recipes.command_line import entry

NOISE = (
    "Parser key",
    "Problem with given class_path",
    "Does not validate against any of the Union subtypes",
    "usage:",
    "Traceback",
    "<class '",
    "Namespace(",
    "Expected a <",
    "Unexpected config",
)
FILES = {
    "broken.yaml": "trainer:\n  max_steps: [\n",
    "tabs.yaml": "model:\n\tnetwork: 1\n",
    "list.yaml": "- 1\n",
    "text.yaml": "hello\n",
    "empty.yaml": "",
    "comment.yaml": "# nothing yet\n",
    "latin.yaml": b"# \xe9\n",
    "type.yaml": "trainer:\n  max_steps: fast\n",
    "class.yaml": "model:\n  network:\n    encoder:\n      class_path: foveal.connectors.MlpProjector\n",
    "compiling.yaml": (
        "model:\n  network:\n    connector:\n      class_path: torch.utils.cpp_extension.load_inline\n"
        "      init_args: {name: a, cpp_sources: ''}\n"
    ),
    "network.yaml": "model:\n  network: [1, 2]\n",
    "number.yaml": "model: 3\n",
    "bomb.yaml": "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(12)),
    "within.yaml": "trainer: &a\n  logger: [*a]\n",
    "levels.yaml": "trainer: " + "[" * 30_000,
    "large.yaml": "# " + "x" * 1_000_000,
    "extends_bomb.yaml": "extends: bomb\n",
    "key.yaml": "trainer:\n  max_stepz: 3\n",
    "deep.yaml": "model:\n  network:\n    plan:\n      init_args:\n        max_slizes: 3\n",
    "top.yaml": "init_args: os.system\n",
    "bad.json": "{",
    "own.py": (
        "from foveal.connectors import MlpProjector\n"
        "from foveal.encoders import VisionTransformer\n"
        "from foveal.models import PadToSquare\n"
        "class Loose(MlpProjector):\n"
        "    def __init__(self, in_width: int, out_width: int, queries):\n"
        "        super().__init__(in_width, out_width)\n"
        "class Plan(PadToSquare):\n"
        "    def __init__(self, size):\n"
        "        super().__init__(size)\n"
        "class Failing(PadToSquare):\n"
        "    def __init__(self, size: int = 3):\n"
        "        self.nothing.there = size\n"
        "def made(in_width: int, out_width: int): ...\n"
    ),
    "own_syntax.py": "def (\n",
    "own_import.py": "import nothing_there\n",
    "own_zero.py": "1 / 0\n",
}
UHD = ("--config", "uhd.yaml")
CONNECTOR, ENCODER, PLAN = (f"--model.network.{part}" for part in ("connector", "encoder", "plan"))
LLAVA = (*UHD, "--config", "data/llava.yaml")

WRONG = [
    # what a configuration is
    (("--config", "uhd.yamll"), 2, ["uhd.yamll", "did you mean uhd.yaml?"]),
    (("--config", "folder"), 2, ["folder", "give a file"]),
    (("--config", "https://example.org/a.yaml"), 2, ["is not fetched"]),
    ((*UHD, "--config", "broken.yaml"), 2, ["broken.yaml, line 3", "not YAML"]),
    ((*UHD, "--config", "tabs.yaml"), 2, ["tabs.yaml, line 2", "not YAML", "'\\t'"]),
    ((*UHD, "--config", "bomb.yaml"), 2, ["bomb.yaml, line 6: refused (more than 20,000 values"]),
    ((*UHD, "--config", "extends_bomb.yaml"), 2, ["bomb.yaml, line 6: refused (more than 20,000 values"]),
    ((*UHD, "--config", "within.yaml"), 2, ["within.yaml, line 2: refused (*a is within itself"]),
    ((*UHD, "--config", "levels.yaml"), 2, ["levels.yaml, line 1: refused (more than 50 levels"]),
    ((*UHD, "--model", "levels.yaml"), 2, ["levels.yaml", "more than 50 levels"]),
    ((*UHD, "--config", "large.yaml"), 2, ["large.yaml: refused (more than 1,000,000 bytes"]),
    ((*UHD, "--config", "list.yaml"), 2, ["list.yaml", "expected named settings", "[1]"]),
    ((*UHD, "--config", "text.yaml"), 2, ["text.yaml", "expected named settings", "hello"]),
    (("--config", "empty.yaml"), 2, ["empty.yaml is empty"]),
    (("--config", "comment.yaml"), 2, ["comment.yaml is empty"]),
    ((*UHD, "--config", "latin.yaml"), 2, ["latin.yaml", "UTF-8"]),
    # names
    ((*UHD, "--config", "key.yaml"), 2, ["key.yaml: trainer.max_stepz", "did you mean trainer.max_steps?"]),
    (
        (*UHD, "--config", "deep.yaml"),
        2,
        ["deep.yaml", "max_slizes", "did you mean model.network.plan.init_args.max_sl"],
    ),
    ((*UHD, "--config", "top.yaml"), 2, ["top.yaml: init_args: there is no setting init_args"]),
    ((*UHD, "--model.conector_lr=1"), 2, ["did you mean --model.connector_lr?"]),
    ((*UHD, "stray"), 2, ["stray", "--NAME VALUE"]),
    ((*UHD, "--trainer.max_steps"), 2, ["--trainer.max_steps", "one argument"]),
    ((*UHD, "--model.rates.conector=1"), 1, ["'conector'", "connector, encoder, language_model"]),
    # values
    ((*UHD, "--config", "type.yaml"), 2, ["type.yaml: trainer.max_steps: 'fast' is not a whole number"]),
    ((*UHD, "--trainer.max_steps=1.5"), 2, ["--trainer.max_steps: 1.5 is not a whole number"]),
    ((*UHD, "--model.connector_lr=high"), 2, ["--model.connector_lr: 'high' is not a number or null"]),
    ((*UHD, "--model.betas=[1]"), 2, ["--model.betas: [1] is not a list of 2"]),
    ((*UHD, "--model.optimizer=muonn"), 2, ["'muonn' is not one of adamw, muon", "did you mean muon?"]),
    ((*UHD, "--model.network.template=vicuna"), 2, ["--model.network.template", "did you mean vicuna_v1?"]),
    ((*UHD, f"{PLAN}.max_slices=many"), 2, ["--model.network.plan.max_slices: 'many' is not a whole number"]),
    ((*UHD, f"{ENCODER}.layers=[x]"), 2, ["--model.network.encoder.layers: ['x'] is not a list"]),
    ((*UHD, "--data.pages=many"), 2, ["--data.pages: 'many' is not a whole number"]),
    ((*UHD, "--data.settings.digits=3"), 2, ["--data.settings.digits: 3 is not a list of 2"]),
    ((*UHD, "--controls=maybe"), 2, ["--controls: 'maybe' is not true or false"]),
    ((*UHD, "--states.every_steps=often"), 2, ["--states.every_steps: 'often' is not a whole number or null"]),
    ((*UHD, "--seed_everything=x"), 2, ["--seed_everything: 'x' is not true or false or a whole number"]),
    ((*UHD, "--trainer.precision=8"), 2, ["--trainer.precision: 8 is not one of 64, 32, 16", "bf16-mixed"]),
    ((*UHD, "--model.lora.rank=x"), 2, ["--model.lora.rank: 'x' is not a whole number"]),
    ((*UHD, "--model.lora=5"), 2, ["--model.lora: 5 is not a mapping or null"]),
    ((*UHD, "--model.rates.connector=fast"), 2, ["--model.rates.connector: 'fast' is not a number or null"]),
    ((*UHD, "--config", "network.yaml"), 2, ["network.yaml: model.network: [1, 2] is not the class_path of"]),
    ((*UHD, "--config", "number.yaml"), 2, ["number.yaml: model: 3 is not a mapping of settings"]),
    ((*UHD, "--model=3"), 2, ["--model: 3 is not a mapping of settings"]),
    ((*UHD, "--model.warmup=2"), 1, ["warmup is a share", "2.0"]),
    ((*UHD, "--data.batch_size=0"), 1, ["--data.batch_size is 0"]),
    ((*UHD, "--data.pages=-1"), 1, ["--data.pages is -1"]),
    ((*UHD, "--trainer.devices=zero"), 1, ["the Trainer refuses its settings", "devices"]),
    ((*UHD, "--trainer.max_time=soon"), 1, ["the Trainer refuses its settings", "soon"]),
    ((*UHD, "--run", "own.py"), 1, ["--run own.py", "give a folder"]),
    # values as long as a file
    ((*UHD, f"--model={'x' * 9000}"), 2, ["--model: 'xxx", "is not a mapping of settings"]),
    ((*UHD, f"--trainer.max_steps={'x' * 9000}"), 2, ["--trainer.max_steps: 'xxx", "is not a whole number"]),
    ((*UHD, f"{CONNECTOR}={'x' * 9000}"), 2, ["--model.network.connector: 'xxx", "is not the class path"]),
    (("--config", "x" * 9000), 2, ["--config xxx", "there is no such file"]),
    ((*UHD, f"--{'x' * 9000}=1"), 2, ["--xxx"]),
    # classes
    (
        (*UHD, "--config", "class.yaml"),
        2,
        ["class.yaml: model.network.encoder", "is a Connector; an Encoder is needed"],
    ),
    ((*UHD, f"{CONNECTOR}=foveal.encoders.VisionTransformer"), 2, ["is an Encoder; a Connector is needed, such as"]),
    (
        (*UHD, f"{CONNECTOR}=foveal.connectors.Mlp"),
        2,
        ["no Mlp in foveal.connectors", "foveal.connectors.MlpProjector?"],
    ),
    (
        (*UHD, f"{CONNECTOR}=foveal.connectorz.MlpProjector"),
        2,
        ["foveal.connectorz", "foveal.connectors.MlpProjector?"],
    ),
    ((*UHD, f"{CONNECTOR}=3"), 2, ["--model.network.connector: 3 is not the class_path of a Connector"]),
    ((*UHD, f"{ENCODER}=foveal.encoders.Encoder"), 2, ["cannot be built: it has no forward", "such as"]),
    (
        (*UHD, f"{ENCODER}=VisionTransformr"),
        2,
        ["not the class path", "did you mean foveal.encoders.VisionTransformer?"],
    ),
    ((*UHD, "--data=Llava"), 2, ["--data: 'Llava'", "did you mean recipes.data.LlavaData?"]),
    ((*UHD, "--data=foveal.connectors.MlpProjector"), 2, ["is a Connector; a LightningDataModule is needed"]),
    ((*UHD, "--trainer.logger=foveal.Nothing"), 2, ["--trainer.logger", "there is no Nothing in foveal"]),
    ((*UHD, f"{CONNECTOR}=os.system"), 2, ["os.system is not imported", "--allow_import os"]),
    ((*UHD, f"{CONNECTOR}=own.Loose"), 2, ["own.Loose is not imported", "--allow_import own"]),
    ((*UHD, "--allow_import=absent", f"{PLAN}=absent.Plan"), 2, ["--model.network.plan: there is no module absent"]),
    ((*UHD, "--allow_import=own", f"{PLAN}=own.Plann"), 2, ["there is no Plann in own; did you mean own.Plan?"]),
    ((*UHD, "--allow_import=own", f"{PLAN}=own.Plan"), 2, ["model.network.plan: size of own.Plan has no type"]),
    ((*UHD, "--allow_import=own", f"{PLAN}=own.Failing"), 1, ["own.Failing: ", "nothing"]),
    ((*UHD, "--allow_import=own", f"{CONNECTOR}=own.made"), 2, ["own.made is a function without a return type"]),
    ((*UHD, "--allow_import=own_syntax", f"{PLAN}=own_syntax.A"), 2, ["own_syntax.py, line 1", "SyntaxError"]),
    (
        (*UHD, "--allow_import=own_import", f"{PLAN}=own_import.A"),
        2,
        ["own_import cannot be imported", "nothing_there"],
    ),
    ((*UHD, "--allow_import=own_zero", f"{PLAN}=own_zero.A"), 2, ["own_zero cannot be imported", "ZeroDivisionError"]),
    # what is missing
    ((), 2, ["--model.network is missing", "--config uhd.yaml"]),
    (
        (*UHD, "--config", "uhd/pretrain.yaml"),
        2,
        ["--data.path is missing: LlavaData needs it (file or folder to learn from"],
    ),
    ((*UHD, "--model.network=foveal.models.load"), 2, ["--model.network.folder is missing"]),
    ((*LLAVA, "--data.path=none.json"), 1, ["--data.path none.json", "no such file"]),
    ((*LLAVA, "--data.path=folder"), 1, ["folder is a folder of nothing: give one file or folder in it"]),
    ((*LLAVA, "--data.path=bad.json"), 1, ["bad.json, line 1: not JSON"]),
    ((*LLAVA, "--data.path=bad.json", "--data.images=none"), 1, ["there is no image folder none"]),
    ((*UHD, "--checkpoint=none"), 1, ["there is no folder none"]),
    ((*UHD, "--ckpt_path=none"), 1, ["there is no training state none"]),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with all of `FILES`, which becomes the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("own")]:
        del sys.modules[name]


def check(message, words):
    assert message.startswith("error: ")
    assert len(message.splitlines()) <= 4
    assert len(message) < 3000
    for word in words:
        assert word in message
    for noise in NOISE:
        assert noise not in message


@pytest.mark.parametrize(
    ("arguments", "code", "words"), WRONG, ids=lambda value: " ".join(value)[:80] if isinstance(value, tuple) else ""
)
def test_a_wrong_command_line(files, monkeypatch, capsys, arguments, code, words):
    monkeypatch.setattr(sys, "argv", ["fit", *arguments, "--trainer.accelerator=cpu", "--trainer.fast_dev_run=true"])
    with pytest.raises(SystemExit) as end:
        entry.main("fit")
    check(capsys.readouterr().err, words)
    assert end.value.code == code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("fit", ("--config", "broken.yaml"), 2, ["broken.yaml, line 3"]),
        ("fit", (*UHD, "--config", "class.yaml"), 2, ["class.yaml", "an Encoder is needed"]),
        ("fit", (*UHD, "--config", "compiling.yaml"), 2, ["compiling.yaml", "load_inline is not imported"]),
        ("cost", (*UHD, "--config", "memory://a.yaml"), 2, ["memory://a.yaml", "is not fetched"]),
        ("validate", (*LLAVA, "--data.path=none.json"), 1, ["none.json"]),
        ("validate", ("--checkpoint", "none", *UHD), 1, ["there is no folder none"]),
        ("cost", (*UHD, "--trainer.max_steps=fast"), 2, ["'fast' is not a whole number"]),
        ("cost", (*UHD, "--allow_import=own_syntax", f"{PLAN}=own_syntax.A"), 2, ["own_syntax.py, line 1"]),
        ("predict", ("--question", "What?"), 2, ["--checkpoint"]),
        ("quantize", ("none", "out"), 1, ["there is no folder none"]),
        ("merge", ("none", "out"), 1, ["none"]),
        ("convert", ("none", "out"), 1, ["there is no none"]),
        ("merge_shards", ("none",), 1, ["none"]),
        ("shard", ("--data.path=none.json", "--out=out"), 1, ["none.json"]),
        ("compare", ("none", "--output=out"), 1, ["there is no run none"]),
        ("compare", ("none",), 2, ["--output"]),
    ],
)
def test_as_a_process(files, name, arguments, code, words):
    done = subprocess.run(
        [sys.executable, "-m", f"recipes.{name}", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(files)},
        capture_output=True,
        text=True,
        check=False,
    )
    check(done.stderr, words)
    assert done.returncode == code
    assert done.stdout == ""
