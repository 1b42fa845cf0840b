"""Pages of printed text, as a Lightning data module."""

from collections.abc import Sequence
from dataclasses import replace

from recipes.data.modules import PagesData
from recipes.data.printed.fonts import HELD_OUT, faces
from recipes.data.printed.pages import PrintedSettings


class PrintedData(PagesData):
    """Pages of printed text in many fonts, made on the fly; validated in fonts that training does not see.

    Args:
        pages: number of pages to learn from; they get harder during training.
        val_pages: number of pages to validate on, all at full difficulty; 0: no validation.
        printing: how pages look.
        val_fonts: fonts of the pages to validate on, as in `printing`.
        easy_until: share of `pages` that are the easiest.
        hard_from: share of `pages` after which all are at full difficulty.
        batch_size: pages per micro-batch.
        val_batch_size: questions answered at a time.
        workers: processes that make pages; 0: the training process does it.
        seed: seed of the pages; validation uses different pages.

    Raises:
        ValueError: if fonts are not installed, naming their packages.
    """

    def __init__(
        self,
        *,
        pages: int = 57_600,
        val_pages: int = 256,
        printing: PrintedSettings = PrintedSettings(),
        val_fonts: Sequence[str] = HELD_OUT,
        easy_until: float = 0.05,
        hard_from: float = 0.35,
        batch_size: int = 32,
        val_batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            pages=pages,
            val_pages=val_pages,
            easy_until=easy_until,
            hard_from=hard_from,
            batch_size=batch_size,
            val_batch_size=val_batch_size,
            workers=workers,
            seed=seed,
        )
        self.printing, self.val_fonts = printing, tuple(val_fonts)
        self.settings = printing
        self.val_settings = replace(printing, fonts=self.val_fonts)

    def setup(self, stage: str) -> None:
        """Find all fonts before the first step.

        Raises:
            ValueError: if fonts are not installed.
        """
        needed = (*(self.printing.fonts if stage == "fit" else ()), *(self.val_fonts if self.has_validation else ()))
        if needed:
            faces(needed)
