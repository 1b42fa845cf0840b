"""One-line descriptions of arguments, from docstrings."""

import re
from collections.abc import Mapping

SECTION = re.compile(r"^(\w+):$")
ARGUMENT = re.compile(r"^    (\w+): +(.*)$")
CLAUSE = re.compile(r"(?<=[^.]{8})(?:; |\. | \().*")


def arguments(docstring: str | None) -> Mapping[str, str]:
    """The arguments in a Google-style docstring: name -> first clause of its description.

    Args:
        docstring: without indentation, as `inspect.getdoc` and `ast.get_docstring` return it.
    """
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in (docstring or "").splitlines():
        if section := SECTION.match(line):
            inside, name = section[1] in ("Args", "Attributes"), ""
        elif inside and (argument := ARGUMENT.match(line)):
            name, found[argument[1]] = argument[1], argument[2]
        elif inside and name and line.startswith("      "):
            found[name] += f" {line.strip()}"
    return {name: CLAUSE.sub("", text).rstrip(".") for name, text in found.items()}
