"""What configurations may name: nothing in a downloaded file runs code, whatever it names and wherever."""

import fsspec
import pytest
import yaml

from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import UsageError
from recipes.command_line.imports import ImportsError
from recipes.commands.fit import FitCommand
from recipes.commands.named_objects import _public, _returns_part, refuse_unmeant
from recipes.commands.parser_limits import limit_parser
from recipes.commands.sharded_module import instantiated
from recipes.module import Finetuning
from recipes.run.log import RunLog
from recipes.states import Signals


class Parsed(FitCommand):
    """Parse the settings of a command line; nothing is built."""

    def before_instantiate_classes(self):
        pass

    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


def parsed(*words):
    typed = prepare(words)
    limit_parser(typed.allowed)
    return Parsed("fit", typed, Signals(), RunLog()).config["fit"]


RUNS_CODE = [
    "torch.hub.load",
    "torch.load",
    "torch.serialization.load",
    "lightning.fabric.utilities.cloud_io._load",
    "torch.fx.graph_module.GraphModule",
    "torch.fx.graph_module.reduce_graph_module",
    "torch.utils.cpp_extension.load_inline",
    "transformers.dynamic_module_utils.get_class_from_dynamic_module",
    "foveal.core.describe.build",
]
"""What ran code when a configuration named it as a connector, or as a callback's argument."""
ALSO = [
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "torch.fx.graph_module._exec_with_source",
    "torch.ops.load_library",
    "torch.jit.load",
    "torch.compile",
    "torch.package.PackageImporter",
    "torch.distributed.launcher.api.elastic_launch",
    "torch.distributed.elastic.multiprocessing.start_processes",
    "transformers.AutoModelForCausalLM.from_pretrained",
    "transformers.pipeline",
    "transformers.LlamaForCausalLM",
    "lightning.pytorch.cli.LightningCLI",
    "lightning.pytorch.strategies.launchers.subprocess_script._SubprocessScriptLauncher",
    "torchmetrics.text.BERTScore",
    "foveal.core.build",
    "foveal.core.whole_folder",
    "foveal.models.save",
    "foveal.models.checkpoints.load.open_model",
    "foveal.limited_yaml.read_yaml",
    "recipes.commands.sharded_module.instantiated",
    "recipes.commands.merge._model_with_adapters",
    "recipes.data.modules.hashlib.new",
    "torch.nn.modules.module.functools.partial",
    "torch.nn.Module.load_state_dict",
    "operator.methodcaller",
    "functools.partial",
    "builtins.exec",
    "os.system",
    "subprocess.Popen",
]
"""More that runs, fetches, unpickles or writes what its arguments say, or reaches something that does."""
PLACES = {
    "connector": lambda path: {"model": {"network": {"connector": {"class_path": path, "init_args": {"source": "x"}}}}},
    "language model": lambda path: {"model": {"network": {"language_model": {"class_path": path}}}},
    "callback": lambda path: {"trainer": {"callbacks": [{"class_path": path}]}},
    "argument of a callback": lambda path: {
        "trainer": {
            "callbacks": [
                {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_fit_start": path}}
            ]
        }
    },
}


def refused(folder, capsys, settings):
    (folder / "downloaded.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit) as end:
        parsed("--config", "uhd.yaml", "--config", str(folder / "downloaded.yaml"))
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) <= 4
    assert not any(noise in said for noise in ("Parser key", "Traceback", "Namespace", "denylist", "Union subtypes"))
    return said


@pytest.mark.parametrize("place", ["connector", "argument of a callback"])
@pytest.mark.parametrize("path", RUNS_CODE)
def test_what_once_ran_code(tmp_path, capsys, path, place):
    assert path.rpartition(".")[2] in refused(tmp_path, capsys, PLACES[place](path))


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ALSO)
def test_what_might_run_code(tmp_path, capsys, path, place):
    module, _, name = path.rpartition(".")
    said = refused(tmp_path, capsys, PLACES[place](path))
    assert name in said or f"there is no module {module}" in said


def test_what_is_named_inside_of_settings_that_take_anything(tmp_path, capsys):
    """In arguments that are passed on as they are, a class path is not built."""
    inside = {"class_path": "subprocess.Popen", "init_args": {"args": "true"}}
    logger = {"class_path": "lightning.pytorch.loggers.WandbLogger", "dict_kwargs": {"settings": inside}}
    assert "Popen" in refused(tmp_path, capsys, {"trainer": {"logger": logger}})


def test_what_is_meant_can_be_named(tmp_path):
    (tmp_path / "own.yaml").write_text(
        "trainer:\n"
        "  callbacks:\n"
        "  - class_path: lightning.pytorch.callbacks.EarlyStopping\n"
        "    init_args: {monitor: val/anls}\n"
        "  - class_path: lightning.pytorch.callbacks.BackboneFinetuning\n"
        "  profiler: lightning.pytorch.profilers.SimpleProfiler\n"
        "  plugins:\n"
        "  - class_path: lightning.pytorch.plugins.environments.LightningEnvironment\n"
        "  strategy:\n"
        "    class_path: lightning.pytorch.strategies.DDPStrategy\n"
    )
    trainer = parsed("--config", "uhd.yaml", "--config", str(tmp_path / "own.yaml")).trainer
    assert trainer.profiler.class_path == "lightning.pytorch.profilers.SimpleProfiler"
    # A function that is the default of an argument comes from code, not from a file.
    assert callable(trainer.callbacks[1].init_args.lambda_func)
    refuse_unmeant(trainer, [])


def test_functions_outside_of_foveal_need_to_be_allowed(tmp_path):
    hook = "torch.distributed.algorithms.ddp_comm_hooks.default_hooks"
    words = (
        "--config=uhd.yaml",
        "--trainer.strategy=lightning.pytorch.strategies.DDPStrategy",
        f"--trainer.strategy.ddp_comm_hook={hook}.fp16_compress_hook",
    )
    assert parsed(*words, "--allow_import", hook).trainer.strategy.init_args.ddp_comm_hook.__module__ == hook
    with pytest.raises(SystemExit):
        parsed(*words)


def test_all_functions_that_a_configuration_can_call():
    """Look at a new one with an attacker's eyes: what can its arguments do?"""
    functions = {each.__name__ for each in _public() if _returns_part(each)}
    assert functions == {
        *("clip_vit", "clip_vit_large_224", "clip_vit_large_336", "convnext", "convnext_large", "convnext_xxlarge"),
        *("dinov2_tower", "dinov2_vit", "dinov2_vit_large", "sam_vit"),
        *("intern_vit", "intern_vit_300m_448", "intern_vit_6b_448", "intern_vit_tower"),
        *("minicpm_vit", "moonvit", "qwen3_vl_text", "semantic_pyramid"),
        *("siglip_tower", "siglip_vit", "siglip_vit_large_384", "siglip_vit_so400m_384"),
        *("byte_tokenizer", "llama", "load", "load_adapter", "load_encoder", "opt", "qwen3"),
        *("pretrained_language_model", "pretrained_tokenizer"),
    }


REMOTE = ["https://example.org/a.yaml", "s3://bucket/a.yaml", "memory://a.yaml", "simplecache::memory://a.yaml"]


@pytest.mark.parametrize("url", REMOTE)
def test_configurations_are_not_fetched(tmp_path, url):
    (tmp_path / "extending.yaml").write_text(f"extends: '{url}'\n")
    for typed in (["--config", url], [f"--config={url}"], ["-c", url], ["--config", str(tmp_path / "extending.yaml")]):
        with pytest.raises(UsageError, match="is not fetched"):
            prepare(typed)


@pytest.mark.parametrize("key", ["config", "model", "model.network", "model.network.connector"])
def test_files_in_settings_are_not_fetched(tmp_path, key):
    """Lightning lets the parser read them from anywhere."""
    with fsspec.open("memory://a.yaml", "w") as stream:
        stream.write("{}\n")
    (tmp_path / "naming.yaml").write_text(f"{key}: memory://a.yaml\n")
    with pytest.raises(SystemExit):
        parsed("--config=uhd.yaml", "--config", str(tmp_path / "naming.yaml"))


@pytest.mark.parametrize(
    "words",
    [
        ("--run",),
        ("--ckpt_path",),
        ("--trainer.default_root_dir",),
        ("--config=data/llava.yaml", "--data.path"),
        ("--model.network.encoder=foveal.encoders.clip_vit", "--model.network.encoder.name_or_folder"),
        ("--checkpoint",),
    ],
)
def test_settings_name_no_urls(capsys, words):
    with pytest.raises(SystemExit) as end:
        parsed("--config=uhd.yaml", *words, "memory://there")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "memory://there is a URL" in said
    assert "nothing is fetched" in said


def test_texts_and_servers_may_be_urls():
    settings = {"network": {"system": "https://example.org"}, "logger": [{"tracking_uri": "http://localhost:5000"}]}
    refuse_unmeant(settings, [])
    with pytest.raises(ImportsError, match=r"data\.path: s3://a/b is a URL"):
        refuse_unmeant({"data": {"path": "s3://a/b"}}, [])


def test_the_configuration_of_a_run_that_is_merged():
    """merge_shards builds what a run's configuration names, without a command line."""
    limit_parser(prepare([]).allowed)
    network = {"class_path": "foveal.models.checkpoints.load.open_model", "init_args": {"folder": "there"}}
    with pytest.raises(ImportsError, match=r"model\.network: .*open_model is refused"):
        instantiated(Finetuning, {"network": network}, packages=[])
