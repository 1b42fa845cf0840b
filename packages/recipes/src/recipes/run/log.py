"""Log of our packages in the run's folder; warnings also go to the standard error."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "run.log"
OURS = ("foveal", "recipes")


class RunLog:
    """Collects messages of the loggers `foveal` and `recipes`, from level INFO, until it is closed."""

    def __init__(self) -> None:
        self._handlers: list[logging.Handler] = []
        self._levels = {name: logging.getLogger(name).level for name in OURS}
        shown = logging.StreamHandler(sys.stderr)
        shown.setLevel(logging.WARNING)
        self._add(shown)

    def write_to(self, folder: Path) -> None:
        """From now on, append everything to `run.log` in `folder`."""
        file = logging.FileHandler(folder / NAME, delay=True, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        for name in OURS:
            logging.getLogger(name).setLevel(logging.INFO)
        self._add(file)

    def close(self) -> None:
        """Restore the loggers."""
        for name in OURS:
            logger = logging.getLogger(name)
            logger.setLevel(self._levels[name])
            for handler in self._handlers:
                logger.removeHandler(handler)
        for handler in self._handlers:
            handler.close()
        self._handlers = []

    def _add(self, handler: logging.Handler) -> None:
        self._handlers.append(handler)
        for name in OURS:
            logging.getLogger(name).addHandler(handler)


@contextmanager
def run_log() -> Iterator[RunLog]:
    """Open a log, and close it afterwards."""
    log = RunLog()
    try:
        yield log
    finally:
        log.close()
