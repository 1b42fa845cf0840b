"""Watch what a process does while it reads an input: time, memory, files, processes, network, pickles."""

import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 5
RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pickle.find_class")
REACHES = ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request", "ftplib.connect")
LIBRARIES = tuple(
    os.path.realpath(path) + os.sep
    for path in (*sysconfig.get_paths().values(), sys.base_prefix, sys.prefix, "/usr", "/lib", "/proc", "/sys", "/dev")
)
OURS = (str(Path(__file__).parents[2] / "packages") + os.sep, str(Path(__file__).with_name("folders.py")))


class Hang(BaseException):
    """An input took longer than `SECONDS`."""


class Watch:
    """Records what should not happen. It lasts as long as the process: audit hooks cannot be removed.

    Args:
        folder: the only folder outside of libraries in which files may be opened.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = os.path.realpath(folder)
        self.active = False
        self.seen: list[str] = []
        sys.addaudithook(self._audit)

    @contextmanager
    def one_input(self) -> Iterator[None]:
        """Watch the reading of one input.

        Raises:
            Hang: if it takes too long.
        """
        # Of this process's own time: the machine may be busy. What waits for ever is ended from outside.
        signal.signal(signal.SIGPROF, _hang)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        self.seen, self.active = [], True
        try:
            yield
        finally:
            self.active = False
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in RUNS or event in REACHES:
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((self.folder + os.sep, *LIBRARIES, *OURS)) and path != self.folder:
                self.seen.append(f"open {path}")
        elif event == "exec" and getattr(arguments[0], "co_filename", "").startswith(self.folder):
            self.seen.append(f"exec {arguments[0].co_filename}")


def _hang(_signal: int, frame: FrameType | None) -> None:
    raise Hang(f"more than {SECONDS} s, in {frame.f_code.co_filename if frame else '?'}")


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def is_ours(error: BaseException) -> bool:
    """Whether our own code raised an error: an error of a library was not foreseen."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_code.co_filename.startswith(OURS)
