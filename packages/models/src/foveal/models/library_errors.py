"""What libraries raise for a damaged folder, in one sentence of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST_REASON = 200


@contextmanager
def told_of(name_or_folder: str, fault: str) -> Iterator[None]:
    """Name a folder when something in it cannot be read; of a hub name the library's own words say more.

    Args:
        name_or_folder: what is being read.
        fault: what is wrong if anything is.

    Raises:
        ValueError: for whatever a library raises but a missing package.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        # They raise all kinds, as bare exceptions for a tokenizer and KeyError for an unknown activation.
        is_ours = isinstance(error, ValueError) and str(error).startswith(name_or_folder)
        if is_ours or not Path(name_or_folder).is_dir():
            raise
        raise ValueError(f"{name_or_folder}: {fault} ({_shown(error)})") from error


@contextmanager
def built_from(source: str) -> Iterator[None]:
    """Name a folder whose settings make a library or a part raise something else than our own errors.

    Args:
        source: the folder with the settings.

    Raises:
        ValueError: for whatever is raised but ValueError, OSError and ImportError, whose messages are meant for users.
    """
    try:
        yield
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:
        # Sizes of a wrong type or out of range are found by torch, transformers or a part, in many ways.
        raise ValueError(
            f"{source}: its settings (config.json and the files beside it) describe a model that cannot be built "
            f"({_shown(error)})"
        ) from error


def _shown(error: Exception) -> str:
    """The error in one line."""
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    return f"{type(error).__name__}: {reason}"
