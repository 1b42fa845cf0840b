"""Write an HTML page that holds everything it shows, whole or not at all."""

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that HTML cannot hold or a browser does not show."""
ENLARGE = "enlarge.js"
"""What all pages do with pictures."""


@contextmanager
def new_page(path: Path, *, title: str, script: str) -> Iterator[TextIO]:
    """Open a page, write its head, and yield the stream for what stands inside `<main>`.

    The page's policy lets only our own style and script run, whatever texts it shows, and fetches nothing. It is
    written under another name and moved when it is complete; after an error, nothing is left of it.

    Args:
        path: file to write; its folder is made.
        title: stands in the browser's title bar, and as the heading.
        script: file in this folder, which runs when the page has been read, after `ENLARGE`.

    Raises:
        OSError: if it cannot be written.
    """
    style, *scripts = (files(__package__).joinpath(name).read_text("utf-8") for name in ("style.css", ENLARGE, script))
    code = "\n".join(scripts)
    allowed = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(code)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `foveal.core.whole_file`: torch would be imported for it, which comparing runs does not need.
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(
                '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
                f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n'
                '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
                f'<link rel="icon" href="data:,">\n<title>{text(title)}</title>\n<style>{style}</style>\n'
                f'</head>\n<body>\n<main>\n<h1 dir="auto">{text(title)}</h1>\n'
                "<noscript><p>Without JavaScript, only this part of the page is shown.</p></noscript>\n"
            )
            yield stream
            stream.write(f"</main>\n<script>{code}</script>\n</body>\n</html>\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def text(value: str) -> str:
    """A text as HTML, for an element or a quoted attribute; characters that could not be seen are written out."""
    return html.escape(UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value))


def write_data(stream: TextIO, name: str, values: Iterable[Any]) -> None:
    """Write values as a JSON array for the script, one by one.

    Args:
        stream: of the page.
        name: id of the element, whose `textContent` is the array.
        values: plain values, without infinity and NaN. Texts may hold any characters.
    """
    stream.write(f'<script type="application/json" id="{name}">[')
    for number, value in enumerate(values):
        stream.write(",\n" if number else "\n")
        # In JSON, a `<` only stands in texts, and only a `<` could end the element.
        stream.write(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))
    stream.write("]</script>\n")


def write_picture(stream: TextIO, name: str, encoded: bytes) -> None:
    """Write a WebP picture, from which the script makes an image when it is to be seen."""
    stream.write(f'<script type="text/plain" id="{name}">{base64.b64encode(encoded).decode()}</script>\n')


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
