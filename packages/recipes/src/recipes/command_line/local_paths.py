"""Refuse URLs where a file or folder of this machine is expected."""

import re
from argparse import ArgumentTypeError
from pathlib import Path

REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
"""Beginning of a URL (https://, s3://, memory://), or of a chain of fsspec (simplecache::); no drive of Windows."""
ADVICE = "nothing is fetched: download it, and give the file or folder"


def is_remote(text: str) -> bool:
    """Whether a text is a URL or another address outside of the file system."""
    return REMOTE.match(text.strip()) is not None


def local_path(text: str) -> Path:
    """Check a path for an option, and return it.

    Raises:
        argparse.ArgumentTypeError: if it is a URL.
    """
    if is_remote(text):
        raise ArgumentTypeError(f"{text} is a URL; {ADVICE}")
    return Path(text)
