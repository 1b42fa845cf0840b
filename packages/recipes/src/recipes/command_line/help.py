"""Help that fits on a screen, read from the sources so that it appears at once; `--help all` is the parser's."""

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from recipes.command_line.checkpoints import EXAMPLE
from recipes.command_line.configurations import shipped_configs, shipped_methods
from recipes.command_line.docstrings import arguments as documented
from recipes.command_line.sources import definition

EXAMPLES = {
    "fit": (
        "--config uhd.yaml",
        "--config uhd.yaml --config data/llava.yaml --data.path my.json --data.images my_images/",
        "--config uhd.yaml --config uhd/13b.yaml --config uhd/pretrain.yaml --data.path my.json",
    ),
    "validate": ("runs/uhd/version_0 --config uhd.yaml",),
    "check": ("--config uhd.yaml --config data/llava.yaml --data.path my.json --data.images my_images/",),
    "cost": (
        "--config uhd.yaml --config uhd/13b.yaml --image 1000x3000",
        f"{EXAMPLE} --image 1000x3000",
    ),
    "look": (
        "--config uhd.yaml --image page.png",
        "--checkpoint runs/uhd/version_0/checkpoint --image page.png --output views.png",
    ),
}
OVERLAYS = (
    *("data/llava.yaml", "lora.yaml", "quant/nf4.yaml", "scale/ddp.yaml", "scale/fsdp.yaml"),
    *("log/tensorboard.yaml", "log/wandb.yaml"),
)
"""Shipped configurations that can be combined with every method."""
DRAWS = "look"
"""The command that reads no data and no setting of a training: of the model only the parts."""
NETWORK = "foveal.models.VisionLanguageModel"
PARTS = ("encoder", "connector", "language_model", "tokenizer", "plan", "merge")
MODEL = "recipes.module.Finetuning"
DATA = ("recipes.data.PagesData", "recipes.data.LlavaData")
HIDDEN = ("LightningCLI", "FitCommand")
"""Base classes whose options are not shown: Lightning's are left to its own parser; others than `fit` do not train."""
NAMES = 38
"""Width of the column with the options' names."""
FILES = 18
"""Width of the column with the kinds of configurations."""


@dataclass(frozen=True)
class Option:
    """An option: a one-line description, and its default as written in the source."""

    name: str
    text: str
    default: str = ""

    def line(self, columns: int, names: int) -> str:
        """The option as one line of at most `columns` characters, `names` of them for the name."""
        end = f" [{self.default}]" if self.default else ""
        room = columns - names - 3 - len(end)
        text = self.text if len(self.text) <= room else f"{self.text[: room - 3].rsplit(' ', 1)[0]} .."
        return f"  {self.name:<{names}} {text}{end}"


def short_help(command: str, module: str, name: str) -> str:
    """The options of `python -m recipes.COMMAND`, without the Trainer's hundreds of settings.

    Args:
        command: a key of `EXAMPLES`.
        module: module of the command's class.
        name: name of the command's class.
    """
    columns = shutil.get_terminal_size((110, 24)).columns
    options = [
        Option("--config FILE", "settings in YAML, a local file or a shipped one; later ones win"),
        Option("--checkpoint CHECKPOINT", f"folder, run or hub name; also alone: {EXAMPLE}"),
        *_added(module, name),
        Option("--allow_import PACKAGE", "your own package that class paths may name"),
        Option("--print_config", "print the merged settings and exit"),
    ]
    every = Option("--help all", "all settings; --help alone is this page")
    parts = Option("--model.network.PART CLASS", f"PART: {', '.join(PARTS)}")
    if command == DRAWS:
        shown = list(_configurations(columns, overlays=False))
        sections = {"configurations": shown, "options": [*options, every], "model": [parts]}
    else:
        trainer = Option("--trainer.NAME VALUE", "option of Lightning's Trainer, like --trainer.max_steps 100")
        shown = list(_configurations(columns))
        sections = {"configurations": shown, "options": [*options, trainer, every], **_of_training(parts)}
    lines = [f"python -m recipes.{command} {example}" for example in EXAMPLES[command]]
    for title, listed in sections.items():
        names = FILES if title == "configurations" else NAMES
        lines += [f"{title}:", *(each.line(columns, names) for each in listed)]
    return "\n".join(lines) + "\n"


def _of_training(parts: Option) -> dict[str, list[Option]]:
    """The settings of the model and its training, and of the data."""
    network = [each for each in _taken(NETWORK, "--model.network.") if each.name.rpartition(".")[2] not in PARTS]
    trained = [each for each in _taken(MODEL, "--model.") if not each.name.endswith(".network")]
    pages, own = (_taken(each, "--data.") for each in DATA)
    shared = {each.name for each in own}
    return {
        "model": [parts, *network, *trained],
        f"data: --data {DATA[0]} (built-in pages)": [each for each in pages if each.name not in shared],
        f"data: --data {DATA[1]} (your own: data/llava.yaml)": own,
    }


def _configurations(columns: int, *, overlays: bool = True) -> Iterator[Option]:
    """The shipped configurations: methods by name, their sizes and stages as patterns, and what goes with all."""
    methods = shipped_methods()
    beside = [name.partition("/")[2] for name in shipped_configs() if name.partition("/")[0] in methods]
    common = sorted({name for name in beside if beside.count(name) > 1})
    listed = {
        "METHOD.yaml": methods,
        "METHOD/SIZE.yaml": [name for name in common if name[0].isdigit()],
        "METHOD/STAGE.yaml": [name for name in common if not name[0].isdigit()],
        "overlays": OVERLAYS if overlays else (),
    }
    for title, names in listed.items():
        for number, line in enumerate(wrap(" ".join(names), columns - FILES - 3)):
            yield Option("" if number else title, line)


def _added(module: str, name: str) -> Iterator[Option]:
    """Options that a command's class and its bases add to the parser, those of the bases first."""
    found = definition(module, name)
    if found is None or not isinstance(node := found[1], ast.ClassDef):
        return
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id not in HIDDEN:
            yield from _added(found[0], base.id)
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[ast.Constant(value=str(option)), *_]):
                words = {word.arg: word.value for word in call.keywords}
                text = ast.literal_eval(words["help"]) if "help" in words else ""
                yield Option(option, text.partition(". ")[0].rstrip("."), _plain(words.get("default")))
            case ast.Call(
                func=ast.Attribute(attr="add_class_arguments"), args=[ast.Name(id=kind), ast.Constant(str(key))]
            ):
                yield from _taken(f"{found[0]}.{kind}", f"--{key}.")


def _taken(dotted: str, before: str) -> list[Option]:
    """The arguments of a class, with their descriptions from its docstring and their defaults."""
    found = definition(*dotted.rpartition(".")[::2])
    if found is None or not isinstance(found[1], ast.ClassDef):
        return []
    node = found[1]
    defaults: dict[str, ast.expr | None] = {}
    for each in node.body:
        match each:
            case ast.FunctionDef(name="__init__", args=taken):
                named = taken.args[1:]
                values = [*[None] * (len(named) - len(taken.defaults)), *taken.defaults, *taken.kw_defaults]
                defaults = {arg.arg: value for arg, value in zip([*named, *taken.kwonlyargs], values, strict=True)}
            case ast.AnnAssign(target=ast.Name(id=field), value=value):
                defaults.setdefault(field, value)
    said = documented(ast.get_docstring(node))
    return [Option(before + name, said.get(name, ""), _plain(value)) for name, value in defaults.items()]


def _plain(default: ast.expr | None) -> str:
    """A default as it would be typed; empty if there is none, or it is computed."""
    return str(default.value) if isinstance(default, ast.Constant) and default.value is not None else ""
