"""The alphabet and the question that a model was trained on, from the configuration of its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.core import Size
from foveal.limited_yaml import read_yaml
from foveal.models.prompts.templates import PLACEHOLDER
from recipes.data.pages import LINE_QUESTION, QUESTION, PageSettings
from recipes.run.folder import CONFIG

PAGES = ("recipes.data.PagesData", "recipes.data.modules.PagesData")
"""Class paths of the built-in pages in a run's configuration."""
READ = QUESTION.removeprefix(PLACEHOLDER).strip()
"""What is asked about built-in pages."""


@dataclass(frozen=True)
class TrainedOn:
    """What a run trained on, if it was the built-in pages.

    Attributes:
        source: the file that says so.
        alphabet: the characters on the pages.
        question: that was asked about them.
        settings: how the pages looked.
    """

    source: Path
    alphabet: str
    question: str
    settings: PageSettings

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Sizes of the pages in pixels."""
        return tuple(Size.of(size) for size in self.settings.sizes)


def trained_on(checkpoint: Path) -> TrainedOn | None:
    """What the run trained on that wrote a checkpoint; None if there is no such run, or it trained on something else.

    Args:
        checkpoint: a folder; the run's configuration is beside it.

    Raises:
        ValueError: if the run's configuration cannot be read, or describes pages that cannot be made.
    """
    path = checkpoint.parent / CONFIG
    if not path.is_file():
        return None
    content = read_yaml(path)
    data = content.get("data") if isinstance(content, Mapping) else None
    if not isinstance(data, Mapping) or data.get("class_path") not in PAGES:
        return None
    given: Any = (data.get("init_args") or {}).get("settings") or {}
    if "class_path" in given:
        return None  # settings of one's own
    try:
        settings = PageSettings(**{name: _tuples(value) for name, value in given.items()})
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}, data.init_args.settings: these are no settings of pages ({error})") from error
    # A chart has one line.
    question = READ if settings.lines[1] == 1 else LINE_QUESTION.format(1)
    return TrainedOn(path, "".join(dict.fromkeys(settings.characters)), question, settings)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
