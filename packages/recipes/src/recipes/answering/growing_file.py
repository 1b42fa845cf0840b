"""Files of answers that grow line by line, until whatever ends the process that writes them."""

import sys
from pathlib import Path


def lines_of(path: Path) -> tuple[list[bytes], bytes]:
    """The lines of a file, and what follows the last one: the beginning of a line, or nothing.

    Raises:
        OSError: if it cannot be read.
    """
    *lines, cut = path.read_bytes().split(b"\n")
    return lines, cut


def remove_cut(path: Path, cut: bytes) -> None:
    """Remove the beginning of a line from the end of a file, and say so on standard error.

    Args:
        path: the file.
        cut: as `lines_of` returns it; if it is empty, nothing is done.

    Raises:
        OSError: if it cannot be written.
    """
    if cut:
        with path.open("rb+") as stream:
            stream.truncate(path.stat().st_size - len(cut))
        sys.stderr.write(f"{path}: its last line was not written to its end; that question is asked again\n")
