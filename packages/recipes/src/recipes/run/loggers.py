"""Make the configured loggers write into the run's folder."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recipes.trainer.parts import as_list

CSV = "CSVLogger"
TENSORBOARD = "TensorBoardLogger"
WANDB = "WandbLogger"


def place_loggers(configured: Any, folder: Path) -> Any:
    """Replace every `save_dir` in the parsed `trainer.logger` by the run's folder.

    TensorBoard's events go to `folder/tensorboard`, W&B's files to `folder/wandb`; a resumed run continues the W&B run
    whose files are there. Other loggers with a `save_dir` get the folder. Lightning's CSVLogger is left out: every run
    already has a `metrics.csv`, from `MetricsCsv`.

    Args:
        configured: None, one logger, several (each with `class_path` and `init_args`), or a bool, which is kept.
        folder: the run's folder.

    Returns:
        A bool, or a list of the remaining loggers; `configured` is changed in place.

    Raises:
        ImportError: if a logger's package is not installed; the message names the extra.
    """
    if isinstance(configured, bool):
        return configured
    placed = []
    for logger in as_list(configured):
        kind = logger["class_path"].rpartition(".")[2]
        if kind == CSV:
            continue
        settings = logger["init_args"]
        if kind == TENSORBOARD:
            _need("tensorboard", "tensorboardX")
            settings["name"], settings["version"] = "", "tensorboard"
        elif kind == WANDB:
            _need("wandb")
            settings["name"] = settings["name"] or "/".join(folder.parts[-2:])
            settings["version"] = settings["version"] or settings["id"] or wandb_run_in(folder)
            # If this folder does not exist, W&B writes into the system's temporary folder.
            (folder / "wandb").mkdir(parents=True, exist_ok=True)
        if "save_dir" in settings:
            settings["save_dir"] = str(folder)
        placed.append(logger)
    return placed


def wandb_run_in(folder: Path) -> str | None:
    """The id of the latest W&B run in a run's folder; None if there is none."""
    latest = folder / "wandb" / "latest-run"
    # W&B names them run-DATE_TIME-ID and offline-run-DATE_TIME-ID, and an id may contain hyphens.
    name = latest.resolve().name.removeprefix("offline-") if latest.is_symlink() else ""
    return name.split("-", 2)[2] if name.startswith("run-") and name.count("-") >= 2 else None


def _need(package: str, *others: str) -> None:
    if not any(find_spec(name) for name in (package, *others)):
        raise ImportError(
            f"{package} is not installed, and trainer.logger asks for it: pip install 'foveal-recipes[{package}]'"
        )
