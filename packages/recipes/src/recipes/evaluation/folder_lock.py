"""One evaluation at a time in a folder."""

from contextlib import AbstractContextManager
from pathlib import Path

from recipes.run.lock import locked

LOCK = ".lock"


def only_evaluation(folder: Path) -> AbstractContextManager[None]:
    """Keep other evaluations out of a folder, which exists, until this one ends, however it ends.

    The context raises ValueError if another evaluation is in it, OSError if nothing can be written there.
    """
    said = f"another evaluation is writing into {folder}: wait until it has ended, or give another --output"
    return locked(folder / LOCK, said)
