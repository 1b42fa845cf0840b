"""Pages of PDF files as pictures."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.core import Size
from foveal.models import BadImageError
from foveal.models.views.read_image import MAX_PIXELS, MAX_SIDE
from recipes.reading.extras import extra

DPI = 200
"""Resolution of rendered pages, in pixels per inch."""
POINTS_PER_INCH = 72
NEEDS_PASSWORD = 4
"""PDFium's code of this error (FPDF_ERR_PASSWORD)."""
NAME = re.compile(r"(.+\.pdf)(?:#page=([0-9]{1,9}))?", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class PdfPage:
    """A page of a PDF file.

    Attributes:
        path: the file.
        page: number of the page, from 1; None: the only one.
    """

    path: Path
    page: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.page is None else f"{self.path}#page={self.page}"


def pdf_page(name: str) -> PdfPage | None:
    """The page that a name such as `a.pdf#page=3` (RFC 8118) or `a.pdf` means; None: it is not the name of a PDF."""
    found = NAME.fullmatch(name)
    return PdfPage(Path(found[1]), None if found[2] is None else int(found[2])) if found else None


def page_size(source: PdfPage) -> Size:
    """The size of a page in pixels, as it will be rendered.

    Raises:
        BadImageError: if the page cannot be used.
        ImportError: without pypdfium2.
    """
    with _opened(source) as page:
        return _size(page, source)


def render_page(source: PdfPage) -> Image:
    """Render a page upright, on white, with its annotations and the values of its form, in RGB at `DPI`.

    Raises:
        BadImageError: if the file is missing, damaged or needs a password, there is no such page, or it has more than
            `MAX_PIXELS` pixels or a side longer than `MAX_SIDE`; nothing is rendered then.
        ImportError: without pypdfium2.
    """
    with _opened(source) as page:
        _size(page, source)
        bitmap = page.render(scale=DPI / POINTS_PER_INCH, fill_color=(255, 255, 255, 255), draw_annots=True)
        try:
            return bitmap.to_pil().convert("RGB")  # type: ignore[no-any-return]
        finally:
            bitmap.close()


def _size(page: Any, source: PdfPage) -> Size:
    width, height = (side * DPI / POINTS_PER_INCH for side in page.get_size())
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImageError(
            f"{source}: {width:.0f} x {height:.0f} pixels at {DPI} dpi, more than the limit of {MAX_PIXELS} or a side "
            f"of {MAX_SIDE}"
        )
    return Size(math.ceil(width), math.ceil(height))


@contextmanager
def _opened(source: PdfPage) -> Iterator[Any]:
    pdfium = extra("pypdfium2", "pdf", "reading PDF files")
    if not source.path.is_file():
        raise BadImageError(f"{source}: there is no such file")
    try:
        document = pdfium.PdfDocument(source.path)
    except pdfium.PdfiumError as error:
        reason = "it needs a password" if error.err_code == NEEDS_PASSWORD else f"damaged, or no PDF ({error})"
        raise BadImageError(f"{source}: {reason}") from error
    try:
        document.init_forms()
        page = document[_index(source, len(document))]
        try:
            yield page
        finally:
            page.close()
    except pdfium.PdfiumError as error:
        raise BadImageError(f"{source}: damaged page ({error})") from error
    finally:
        document.close()


def _index(source: PdfPage, pages: int) -> int:
    if source.page is None and pages != 1:
        raise BadImageError(f"{source} has {pages} pages: name one of them, such as {source.path.name}#page=1")
    page = source.page or 1
    if source.page == 0 or page > pages:
        raise BadImageError(f"{source}: there is no such page, pages are numbered from 1 to {pages}")
    return page - 1
