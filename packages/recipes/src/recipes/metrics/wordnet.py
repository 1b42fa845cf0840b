"""WordNet 3.0, as NLTK reads it: from NLTK's own data, or from Debian's package wordnet-base."""

import shutil
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recipes.metrics.extras import library

DEBIAN = Path("/usr/share/wordnet")
LEXNAMES = 45
"""Number of WordNet's source files; their names are not used here."""


@cache
def wordnet() -> Any:
    """NLTK's reader of WordNet, with everything loaded.

    Raises:
        ImportError: without nltk.
        LookupError: if WordNet is not on this machine; nothing is fetched.
    """
    nltk = library("nltk")
    try:
        # NLTK's own data also holds the two files that Debian's package lacks.
        return _read(str(nltk.data.find("corpora/wordnet")))
    except LookupError:
        if not (DEBIAN / "data.noun").is_file():
            raise LookupError(
                "WordNet 3.0 is not on this machine: install Debian's package wordnet-base, or NLTK's data "
                "(python -m nltk.downloader wordnet)"
            ) from None
    with TemporaryDirectory() as data:
        folder = Path(data) / "corpora" / "wordnet"
        folder.mkdir(parents=True)
        for file in DEBIAN.iterdir():
            if file.is_file():
                shutil.copyfile(file, folder / file.name)
        (folder / "index.sense").touch()
        names = "".join(f"{number:02}\tsource{number:02}\t1\n" for number in range(LEXNAMES))
        (folder / "lexnames").write_text(names)
        # NLTK opens files in the folders of this list only.
        nltk.data.path.append(data)
        try:
            return _read(str(folder))
        finally:
            nltk.data.path.remove(data)


def _read(folder: str) -> Any:
    """The reader of a folder, with its files opened: they stay open, and readable when the folder is gone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The multilingual functions")
        reader: Any = library("nltk.corpus.reader.wordnet").WordNetCorpusReader(folder, None)
    for word in ("entity", "be", "able", "well"):  # of every part of speech
        reader.synsets(word)
    return reader
