"""The alphabet and the question that a model was trained on, from the configuration of its run."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from foveal.core import Size
from foveal.limited_yaml import read_yaml
from foveal.models.prompts.templates import PLACEHOLDER
from recipes.acuity_chart.glyphs import FONTS, FontName
from recipes.data.pages import LINE_QUESTION, QUESTION, PageSettings
from recipes.data.printed.pages import PrintedSettings
from recipes.run.folder import CONFIG

T = TypeVar("T")
PAGES = ("recipes.data.PagesData", "recipes.data.modules.PagesData")
PRINTED = ("recipes.data.PrintedData", "recipes.data.printed.module.PrintedData")
"""Class paths of built-in pages, and of pages of printed text, in a run's configuration."""
READ = QUESTION.removeprefix(PLACEHOLDER).strip()
"""What is asked about both."""
BLACK_ON_WHITE: FontName = "aileron"
"""The font of the built-in pages."""
ALPHABET = "".join(each for each in string.ascii_uppercase + string.digits if each not in "IOQW")
"""What stands for all characters of printed text: of one height, none much wider, and none that looks like another."""
SIZES = (Size(192, 48), Size(256, 96), Size(128, 128))
"""Sizes that stand for those of pages of printed text, which fit their lines."""


@dataclass(frozen=True)
class TrainedOn:
    """What a run trained on, if it was made on the fly.

    Attributes:
        source: the file that says so.
        alphabet: the characters on the pages, or, of printed text, some of them.
        question: that was asked about them.
        font_size: the largest, in pixels.
        sizes: of the pages in pixels, or, of printed text, some that are not larger.
        fonts: of the built-in pages; of printed text, which has fonts that may not be here, all that are.
    """

    source: Path
    alphabet: str
    question: str
    font_size: int
    sizes: tuple[Size, ...]
    fonts: tuple[FontName, ...]


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
    if not isinstance(data, Mapping):
        return None
    given = data.get("init_args") or {}
    if data.get("class_path") in PAGES:
        pages = _settings(PageSettings, given, "settings", path)
        return None if pages is None else _built_in(pages, path)
    if data.get("class_path") in PRINTED:
        printing = _settings(PrintedSettings, given, "printing", path)
        return None if printing is None else _printed(printing, path)
    return None


def _built_in(pages: PageSettings, source: Path) -> TrainedOn:
    # A chart has one line.
    question = READ if pages.lines[1] == 1 else LINE_QUESTION.format(1)
    alphabet, sizes = "".join(dict.fromkeys(pages.characters)), tuple(Size.of(size) for size in pages.sizes)
    return TrainedOn(source, alphabet, question, pages.font_sizes[1], sizes, (BLACK_ON_WHITE,))


def _printed(printing: PrintedSettings, source: Path) -> TrainedOn:
    sizes = tuple(size for size in SIZES if size.area <= printing.area)
    return TrainedOn(source, ALPHABET, READ, printing.font_sizes[1], sizes or SIZES[:1], FONTS)


def _settings(kind: Callable[..., T], init_args: Mapping[str, Any], name: str, path: Path) -> T | None:
    """How pages looked; None if the settings are of a class of one's own."""
    given: Any = init_args.get(name) or {}
    if "class_path" in given:
        return None
    try:
        return kind(**{key: _tuples(value) for key, value in given.items()})
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}, data.init_args.{name}: these are no settings of pages ({error})") from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
