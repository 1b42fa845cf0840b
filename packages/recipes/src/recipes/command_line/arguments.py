"""What a user typed, before the parser sees it: shipped configurations by their bare name, and who may be imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import yaml

CONFIGS = Path(str(files("recipes") / "configs")).resolve()
FOLDERS = ("methods", "sizes", "stages", "extras")
"""Folders of `CONFIGS` that a shipped configuration's name leaves out: `uhd.yaml` is `methods/uhd.yaml`."""
LAPTOP = CONFIGS / "extras/laptop.yaml"
"""What the shipped configurations of methods share; they hold only what is their own."""
QUANTISED = (CONFIGS / "extras/quant/nf4.yaml", CONFIGS / "extras/quant/nf4_checkpoint.yaml")
"""The same choice for a network of parts and for one that is a checkpoint."""
ALLOWED_IMPORTS = ("foveal", "recipes", "lightning", "torch", "torchmetrics", "transformers")


class UsageError(ValueError):
    """The command line cannot be used as it is; the message says what to type instead."""


@dataclass(frozen=True)
class Prepared:
    """What a user typed, ready for the parser.

    Attributes:
        arguments: for the parser.
        allowed: names of packages that class paths may import.
        name: of the run: the first configuration's without its ending.
    """

    arguments: tuple[str, ...]
    allowed: tuple[str, ...]
    name: str


def shipped_name(file: Path) -> str:
    """The name by which a shipped configuration is typed, such as `uhd/13b.yaml`; of another file its path."""
    if not file.is_relative_to(CONFIGS):
        return str(file)
    parts = file.relative_to(CONFIGS).parts
    return "/".join(parts[1:] if parts[0] in FOLDERS else parts)


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package, such as `uhd.yaml` and `uhd/13b.yaml`."""
    return sorted(shipped_name(path) for path in CONFIGS.rglob("*.yaml"))


def shipped_methods() -> list[str]:
    """Names of the methods that have a small configuration, such as `uhd`."""
    return sorted(path.stem for path in CONFIGS.glob("methods/*.yaml"))


def find_config(name: str) -> str:
    """The file meant by `--config name`: one here, or else the shipped one of that name.

    Raises:
        UsageError: if there is neither, or `name` is an address: a configuration names code to run, so it is never
            fetched.
    """
    if "://" in name:
        raise UsageError(
            f"--config {name}: a configuration can run code, so it is not fetched; download and read it first"
        )
    if Path(name).is_file():
        return name
    for folder in (CONFIGS, *(CONFIGS / each for each in FOLDERS)):
        if (folder / name).is_file():
            return str(folder / name)
    near = get_close_matches(name, shipped_configs(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    methods = ", ".join(f"{method}.yaml" for method in shipped_methods())
    raise UsageError(
        f"--config {name}: there is no such file here and none of that name is shipped; {hint}Methods: {methods}; "
        "sizes and stages lie in a folder of the method's name, as in llava/7b.yaml"
    )


def prepare(arguments: Sequence[str]) -> Prepared:
    """The arguments for the parser, the names of packages that class paths may import, and the run's name.

    `--config NAME` becomes `--config FILE`, with `laptop.yaml` before all if one is a shipped method; `--checkpoint
    FOLDER` becomes the network of that folder as it was saved, after all configurations, and quantised if either of
    `QUANTISED` is one of them; `--allow_import NAME` is taken out.

    Raises:
        UsageError: if an option stands without its value, or as `find_config`.
    """
    prepared: list[str] = []
    network: list[str] = []
    common: list[str] = []
    names: list[str] = []
    allowed = list(ALLOWED_IMPORTS)
    from_checkpoint = any(argument.partition("=")[0] == "--checkpoint" for argument in arguments)
    quantised: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in ("--config", "-c", "--checkpoint", "--allow_import"):
            prepared.append(argument)
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError(f"{option} needs a value")
            value = following
        if option == "--allow_import":
            allowed.append(value)
        elif option == "--checkpoint":
            network = ["--model.network=foveal.models.load", f"--model.network.folder={value}"]
            # Otherwise the method's own settings of these names would win over the checkpoint's.
            network += [f"--model.network.{own}=null" for own in ("plan", "template", "max_length")]
        else:
            found = find_config(value)
            place = Path(found).resolve()
            names.append(place.stem)
            if place.parent == CONFIGS / "methods":
                common = ["--config", str(LAPTOP)]
            if from_checkpoint and place in QUANTISED:
                # The decoder itself is frozen from here on, but lora.yaml may follow and train adapters.
                prepared.append("--model.language_model_lr=null")
                quantised = [f"--model.network.quantize={_quantization()}"]
            else:
                prepared += ["--config", found]
    # Behind all configurations, but before what was typed setting by setting.
    last = max((place + 2 for place, word in enumerate(prepared) if word == "--config"), default=0)
    together = common + prepared[:last] + network + quantised + prepared[last:]
    return Prepared(tuple(together), tuple(allowed), names[0] if names else "run")


def _quantization() -> str:
    described = yaml.safe_load(QUANTISED[1].read_text(encoding="utf-8"))
    kind: str = described["model"]["network"]["init_args"]["quantize"]
    return kind
