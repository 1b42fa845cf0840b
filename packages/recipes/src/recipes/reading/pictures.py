"""The pictures that a record names, and where they are."""

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.core import Size
from foveal.models import Processor, image_size, read_image
from foveal.models.views.draft import Draft
from recipes.reading.pdf import PdfPage, page_size, pdf_page, render_page

MAX_BYTES = 20_000_000
"""Largest size of a picture that is embedded in a record."""
BASE64_URI = re.compile(r"data:image/[\w.+-]+;base64,")
ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://")

Source = Path | PdfPage | bytes
"""A picture's file, a page of a file or, if it is embedded in the record, its encoded bytes."""


def picture_at(path: Path) -> Source:
    """The picture that a user has typed: a file, or a page such as `a.pdf#page=3`."""
    return pdf_page(str(path)) or path


def picture_size(source: Source) -> Size:
    """The size of an upright picture, without decoding it.

    Raises:
        BadImageError: if its header shows that it cannot be used.
        ImportError: for a page without pypdfium2.
    """
    return page_size(source) if isinstance(source, PdfPage) else image_size(source)


def read_picture(source: Source) -> Image:
    """Read a picture as upright RGB.

    Raises:
        BadImageError: if it cannot be used.
        ImportError: for a page without pypdfium2.
    """
    return render_page(source) if isinstance(source, PdfPage) else read_image(source)


def read_for(processor: Processor, source: Source) -> Image | Draft:
    """Read a picture as `read_picture` does, or, if the processor's plan wants drafts, a JPEG at a reduced scale.

    Raises:
        ValueError: as for `Processor.read`.
        ImportError: for a page without pypdfium2.
    """
    return render_page(source) if isinstance(source, PdfPage) else processor.read(source)


def written_out(uri: str, where: str, advice: str = "put it into a file") -> bytes:
    """The encoded picture that is written out as `data:image/...;base64,`.

    Args:
        uri: begins with `data:`.
        where: its location, for messages.
        advice: what to do with one that is too large.

    Raises:
        ValueError: if it is not base64, or larger than `MAX_BYTES`.
    """
    begin = BASE64_URI.match(uri)
    if begin is None:
        raise ValueError(f"{where}: {uri[:40]!r} is not understood, expected data:image/png;base64, or the like")
    return from_base64(uri[begin.end() :], where, advice)


def from_base64(text: str, where: str, advice: str = "put it into a file") -> bytes:
    """The encoded picture that is written out in base64; arguments and errors are those of `written_out`."""
    if len(text) * 3 // 4 - text[-2:].count("=") > MAX_BYTES:
        raise ValueError(f"{where}: a picture of more than {MAX_BYTES // 10**6} MB is written out: {advice}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where}: the picture that is written out is not base64 ({error})") from error


def named_pictures(record: Mapping[str, Any], where: str) -> list[str]:
    """The pictures under `image` or `images`: a name or a list of names; null and an empty name mean no picture.

    Args:
        record: as parsed from the file.
        where: its location, for messages.

    Raises:
        ValueError: if it is anything else, a name in a list is empty, or the two keys name different pictures.
    """
    single, several = (_names(record.get(key), f"{where}, {key}") for key in ("image", "images"))
    if single and several and single != several:
        raise ValueError(f"{where}: pictures under both 'image' and 'images': put all under one, in their order")
    return single or several


class OutsideError(ValueError):
    """A name that leads out of the image folder."""


class PictureFolder:
    """Finds pictures by name, in a folder or embedded in the record.

    Args:
        root: folder that all pictures must be inside, after links are resolved.

    Raises:
        ValueError: if there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ValueError(f"there is no image folder {root}")
        self.root, self._resolved = root, os.path.realpath(root)
        self._parents: dict[str, str] = {}

    def find(self, name: str, where: str) -> Source:
        """The file of a picture, a page of it, or its bytes if it is embedded as `data:image/...;base64,`.

        Args:
            name: file name relative to the folder, also as `a.pdf#page=3`, or a `data:` URI.
            where: location of the name, for messages.

        Raises:
            ValueError: as for `file`; if an embedded picture is not base64, or larger than `MAX_BYTES`.
        """
        if name.startswith("data:"):
            return written_out(name, where)
        path, page = self.file(name, where), pdf_page(name)
        return replace(page, path=path) if page else path

    def file(self, name: str, where: str) -> Path:
        """The file of a picture, or of a page.

        Args:
            name: file name relative to the folder, also as `a.pdf#page=3`.
            where: location of the name, for messages.

        Raises:
            OutsideError: if the file is outside the folder.
            ValueError: if the name is a URL, or the file is missing.
        """
        if ADDRESS.match(name):
            raise ValueError(f"{where}: {name[:100]!r} is not fetched: download it, and name its file")
        page = pdf_page(name)
        path = self.root / (page.path if page else name)
        try:
            real = self._real(path)
            if real != self._resolved and not real.startswith(self._resolved.rstrip(os.sep) + os.sep):
                raise OutsideError(f"{where}: {name!r:.100} is outside the image folder {self.root}")
            there = stat.S_ISREG(os.stat(real).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except PermissionError as error:
            raise ValueError(f"{where}: {path} cannot be read (permission denied)") from error
        except OutsideError:
            raise
        except (OSError, ValueError) as error:  # too long, or with a NUL
            raise ValueError(f"{where}: {name[:100]!r} is no name of a file ({str(error)[:60]})") from error
        if not there:
            raise ValueError(f"{where}: there is no file {str(path)[:500]}")
        return path

    def _real(self, path: Path) -> str:
        """The path without links; every folder is resolved only once, since that takes a call for each of its parts."""
        parent, base = os.path.split(path)
        if base in ("", ".", "..") or os.path.islink(path):
            return os.path.realpath(path)
        if parent not in self._parents:
            self._parents[parent] = os.path.realpath(parent)
        return os.path.join(self._parents[parent], base)


def _names(value: Any, where: str) -> list[str]:
    if value is None or value == "":
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: a name or a list of names is expected, not {value!r:.100}")
    if "" in names:
        raise ValueError(f"{where}: name {names.index('') + 1} of {len(names)} is empty")
    return names
