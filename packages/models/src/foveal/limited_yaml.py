"""Read untrusted YAML: the same values as `yaml.safe_load`, within limits.

Without limits, a file of a kilobyte can expand to more values than fit into memory, a list can contain itself, and
thirty thousand brackets end the process. This module is not in `foveal.models`, so that the command line can read
configurations at once, before it imports torch.
"""

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
"""Most values, including those that aliases repeat; the longest shipped configuration has a few hundred."""
MAX_DEPTH = 50
MAX_DIGITS = 1000
"""Most digits of a number; numbers in base 60 (1:30:00) take quadratic time."""


NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class LimitError(yaml.MarkedYAMLError):
    """The YAML is well-formed, but exceeds a limit."""


class LimitedLoader(yaml.SafeLoader):
    """Counts values and levels while they are read; an alias counts as much as the values that it repeats."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_BYTES:
            raise LimitError(problem=f"more than {MAX_BYTES:,} characters")
        super().__init__(text)
        self._values = self._depth = self._deepest = 0
        self._inside: dict[str, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent) and event.anchor in self.anchors:
            if event.anchor not in self._inside:
                raise LimitError(problem=f"*{event.anchor} is within itself", problem_mark=mark)
            values, levels = self._inside[event.anchor]
            self._count(values, levels, mark)
            return super().compose_node(parent, index)
        values, deepest = self._values, self._deepest
        self._deepest = self._depth
        self._count(1, 1, mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in NUMBERS and len(node.value) > MAX_DIGITS:
            raise LimitError(problem=f"a number of more than {MAX_DIGITS:,} digits", problem_mark=node.start_mark)
        if event.anchor is not None:
            self._inside[event.anchor] = (self._values - values, self._deepest - self._depth)
        self._deepest = max(self._deepest, deepest)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    # YAML forbids it, and PyYAML would take the last value.
                    raise LimitError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            # The loader's own constructors raise these, as for the date 2020-99-99.
            raise yaml.constructor.ConstructorError(
                None, None, f"not a valid {node.tag.rpartition(':')[2]}", node.start_mark
            ) from error

    def _count(self, values: int, levels: int, mark: yaml.Mark) -> None:
        self._values += values
        self._deepest = max(self._deepest, self._depth + levels)
        if self._deepest > MAX_DEPTH:
            raise LimitError(problem=f"more than {MAX_DEPTH} levels within each other", problem_mark=mark)
        if self._values > MAX_VALUES:
            raise LimitError(
                problem=f"more than {MAX_VALUES:,} values, with those that aliases repeat", problem_mark=mark
            )


def load_yaml(text: str, *, source: str) -> Any:
    """The values of a text; errors name `source`.

    Raises:
        ValueError: if it is not YAML, or exceeds one of the limits above; with the line.
    """
    try:
        return yaml.load(text, Loader=LimitedLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = " ".join((getattr(error, "problem", None) or str(error)).split())
        verdict = "refused" if isinstance(error, LimitError) else "not YAML"
        raise ValueError(f"{source}{line}: {verdict} ({reason})") from error


def read_yaml(path: Path, *, source: str | None = None) -> Any:
    """The values of a file; errors name `source` (by default its path).

    Raises:
        ValueError: as for `load_yaml`, or if it cannot be read or is not UTF-8 text.
    """
    source = str(path) if source is None else source
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"{source}: refused (more than {MAX_BYTES:,} bytes)")
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 text: save it as YAML in UTF-8") from error
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}") from error
    return load_yaml(text, source=source)
