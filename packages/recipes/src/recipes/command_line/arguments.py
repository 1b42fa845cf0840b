"""Prepare the command line for the parser: expand configurations, and collect the packages that may be imported."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir, isfile
from pathlib import Path

from recipes.command_line.checkpoints import READER, checkpoint_in, packaged_reader
from recipes.command_line.configurations import CONFIGS, UsageError, expand, find_config, shipped_methods
from recipes.command_line.imports import package

FOVEAL = ("foveal", "recipes")
ALLOWED_IMPORTS = (
    *FOVEAL,
    "lightning.fabric.plugins",
    "lightning.pytorch.accelerators",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "torch.nn",
    "torch.optim",
    "torchmetrics.aggregation",
    "torchmetrics.classification",
    "torchmetrics.regression",
)
"""Modules whose classes configurations may name; none of them loads, fetches or runs anything that is named.

There is none of transformers: its models' configurations can name code on the hub. Our functions make its models.
"""
CONFIG = ("--config", "--confi", "--conf", "-c")
"""Spellings of the option that names a configuration; shorter ones also abbreviate other options."""
LAPTOP = CONFIGS / "extras/laptop.yaml"
"""Placed before everything else, so that methods and overlays can be typed in any order."""
SMALL = {"sizes": CONFIGS / "methods", "stages": CONFIGS / "stages/laptop"}
"""What published configurations replace: sizes replace the small networks, stages the laptop training."""
CHECKPOINT = CONFIGS / "extras/checkpoint.yaml"
"""Sets the network to a checkpoint."""
SEVERAL = ("--image",)
"""Options that take more than one word, unlike all others."""
QUANTISED = (CONFIGS / "extras/quant/nf4.yaml", CONFIGS / "extras/quant/nf4_checkpoint.yaml")
"""The same quantisation for a network built from parts and for a checkpoint."""


@dataclass(frozen=True)
class Prepared:
    """The command line, ready for the parser.

    Attributes:
        arguments: arguments for the parser.
        allowed: names of packages that class paths may import.
        name: name of the run: that of the first configuration, without its suffix.
        expanded: the configurations among the arguments, each after those that it extends.
        remark: what was read differently than typed; empty: nothing.
    """

    arguments: tuple[str, ...]
    allowed: tuple[str, ...]
    name: str
    expanded: tuple[Path, ...]
    remark: str = ""


def prepare(arguments: Sequence[str]) -> Prepared:
    """The arguments for the parser, the packages that class paths may import, and the run's name.

    `--config NAME` becomes `--config FILE` for every file that the configuration extends and for the file itself,
    except those that published sizes and stages replace. `--checkpoint FOLDER`, or `FOLDER` alone where no option takes
    it, becomes the saved network of that folder (of a run, of the checkpoint in it), after all configurations, and
    quantised if one of `QUANTISED` is among them. `--allow_import NAME` is removed.

    Raises:
        UsageError: if an option has no value, two checkpoints are given, or `--allow_import` names no package; also as
            for `find_config`, `expand` and `checkpoint_in`.
    """
    words: list[str | Path] = []
    before: set[Path] = set()
    checkpoints: list[str] = []
    names: list[str] = []
    allowed = list(ALLOWED_IMPORTS)
    takes = ""  # the option that takes the next word, if that is not an option itself
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option not in (*CONFIG, "--checkpoint", "--allow_import"):
            if argument.startswith("--") or takes:
                words.append(argument)
            else:
                checkpoints.append(_alone(argument))
            if argument.startswith("--"):
                takes = "" if equals else option
            elif takes not in SEVERAL:
                takes = ""
            continue
        takes = ""
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError(f"{option} needs a value")
            value = following
        if option == "--allow_import":
            allowed.append(_package(value))
        elif option == "--checkpoint":
            checkpoints.append(value)
        else:
            file = Path(find_config(value))
            names.append(file.stem)
            words += expand(file, before)
    remark = ""
    if checkpoints:
        given, found = _only(checkpoints)
        packaged = found == str(packaged_reader())
        remark = "" if packaged or found == given else f"{given} is a run: its {Path(found).name} is used"
        # The package's weights are stored in bfloat16, in which nothing should be trained.
        whole = ["--model.network.dtype=float32"] if packaged else []
        words = _from_checkpoint(words, [f"--model.network.folder={found}", *whole])
    first = expand(LAPTOP)
    words = _standing_alone(sorted(words, key=lambda word: word not in first))
    typed = [part for word in words for part in (("--config", str(word)) if isinstance(word, Path) else (word,))]
    expanded = tuple(word.resolve() for word in words if isinstance(word, Path))
    return Prepared(tuple(typed), tuple(allowed), names[0] if names else "run", expanded, remark)


def _only(checkpoints: list[str]) -> tuple[str, str]:
    """The one checkpoint as it was given, and as `checkpoint_in` finds it."""
    # What is no folder stays as typed: a path would change a URL, which the parser refuses.
    given = list(dict.fromkeys(str(Path(each)) if isdir(each) else each for each in checkpoints))
    if len(given) > 1:
        raise UsageError(f"two checkpoints are given, {given[0]} and {given[1]}: give one")
    return given[0], str(checkpoint_in(Path(given[0]))) if isdir(given[0]) or given[0] == READER else given[0]


def _alone(word: str) -> str:
    """A word that belongs to no option, and so names a checkpoint.

    Raises:
        UsageError: if it names a configuration, or no folder, and is no hub name.
    """
    if not isdir(word) and (isfile(word) or Path(word).suffix == ".yaml" or word in shipped_methods()):
        raise UsageError(f"{word}: give a configuration as --config {word}; a word alone is a checkpoint")
    if not isdir(word) and "/" not in word:
        raise UsageError(f"{word}: there is no such checkpoint; settings are typed as --NAME VALUE")
    return word


def _from_checkpoint(words: list[str | Path], folder: list[str]) -> list[str | Path]:
    """Insert the network of a checkpoint after all configurations, but before settings typed one by one."""
    quantised = [QUANTISED[1]] if any(word in QUANTISED for word in words) else []
    kept = [word for word in words if word not in QUANTISED]
    last = max((place + 1 for place, word in enumerate(kept) if isinstance(word, Path)), default=0)
    return [*kept[:last], CHECKPOINT, *quantised, *folder, *kept[last:]]


def _standing_alone(words: list[str | Path]) -> list[str | Path]:
    """Drop the small networks before a published size, and the laptop training before a published stage."""
    kept: list[str | Path] = []
    replaced: set[Path] = set()
    methods = shipped_methods()
    for word in reversed(words):
        if isinstance(word, Path):
            if replaced.intersection(word.parents):
                continue
            kind, method = word.parent.parent, word.parent.name
            replaced |= {small for name, small in SMALL.items() if kind == CONFIGS / name and method in methods}
        kept.append(word)
    return kept[::-1]


def _package(name: str) -> str:
    try:
        return package(name)
    except ArgumentTypeError as error:
        raise UsageError(f"--allow_import: {error}") from error
