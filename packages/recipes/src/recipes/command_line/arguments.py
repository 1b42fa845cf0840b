"""What a user typed, before the parser sees it: shipped configurations by their bare name, and who may be imported."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

import yaml

from recipes.command_line.imports import package

CONFIGS = Path(str(files("recipes") / "configs")).resolve()
LAPTOP = CONFIGS / "laptop.yaml"
"""What the shipped configurations of methods share; they hold only what is their own."""
LORA = CONFIGS / "lora.yaml"
"""An overlay for every method, though it lies beside them."""
QUANTISED = (CONFIGS / "quant/nf4.yaml", CONFIGS / "quant/nf4_checkpoint.yaml")
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


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package, such as `uhd.yaml` and `uhd/13b.yaml`."""
    return sorted(str(path.relative_to(CONFIGS).as_posix()) for path in CONFIGS.rglob("*.yaml"))


def shipped_methods() -> list[str]:
    """Names of the methods that have a small configuration, such as `uhd`."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path not in (LAPTOP, LORA))


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
    if name in (names := shipped_configs()):
        return str(CONFIGS / name)
    if Path(name).is_dir():
        raise UsageError(f"--config {name}: that is a folder; give a file in it")
    near = get_close_matches(name, names, n=1)
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
        UsageError: if an option stands without its value, `--allow_import` names no package, or as `find_config`.
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
            allowed.append(_package(value))
        elif option == "--checkpoint":
            network = ["--model.network=foveal.models.load", f"--model.network.folder={value}"]
            # Otherwise the method's own settings of these names would win over the checkpoint's.
            network += [f"--model.network.{own}=null" for own in ("plan", "template", "max_length")]
        else:
            found = find_config(value)
            place = Path(found).resolve()
            names.append(place.stem)
            if place.parent == CONFIGS and place.stem in shipped_methods():
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


def _package(name: str) -> str:
    try:
        return package(name)
    except ArgumentTypeError as error:
        raise UsageError(f"--allow_import: {error}") from error


def _quantization() -> str:
    described = yaml.safe_load(QUANTISED[1].read_text(encoding="utf-8"))
    kind: str = described["model"]["network"]["init_args"]["quantize"]
    return kind
