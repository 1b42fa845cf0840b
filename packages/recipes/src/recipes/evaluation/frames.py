"""Frames of a video file."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL.Image import Image

from foveal.core import Size
from foveal.models import ViewPlan
from recipes.reading.extras import extra

FRAMES = 8
"""Frames of a video for models that cut each as a picture of its own, unless `--frames` says otherwise."""


def frames_for(plan: ViewPlan, asked: int | None) -> int:
    """How many frames of a video a model is shown.

    Args:
        plan: the model's.
        asked: as given with `--frames`.

    Raises:
        ValueError: if the model looks at another number of frames together.
    """
    if plan.frames is None:
        return FRAMES if asked is None else asked
    if asked not in (None, plan.frames):
        raise ValueError(
            f"--frames is {asked}, but the model was made for {plan.frames} frames of a video: leave --frames out"
        )
    return plan.frames


def frame_size(path: Path) -> Size:
    """The size of a video's frames as `frames_of` returns them. Errors are those of `frames_of`."""
    with closing(_decoded(path)) as frames:
        first = next(frames, None)
    if first is None:
        raise _empty(path)
    return Size.of(_upright(first).size)


def frames_of(path: Path, number: int) -> list[Image]:
    """Frames at even distances, each in the middle of its part of the video; fewer if it has fewer.

    Distances are counted in frames, not in seconds, as benchmarks' own scripts do. Frames are turned as players show
    them: a phone that is held upright writes them lying, with a note.

    Args:
        path: a file that FFmpeg reads.
        number: how many.

    Raises:
        ValueError: naming the file, if it has no frames or is damaged.
        ImportError: without PyAV.
        OSError: if it cannot be read.
    """
    total = sum(1 for _ in _decoded(path))
    if not total:
        raise _empty(path)
    wanted = {int((place + 0.5) * total / number) for place in range(number)}
    return [_upright(frame) for place, frame in enumerate(_decoded(path)) if place in wanted]


def _decoded(path: Path) -> Generator[Any, None, None]:
    """All frames, as PyAV decodes them."""
    av = extra("av", "video", "reading videos")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from container.decode(stream)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path, error) from error


def _upright(frame: Any) -> Image:
    image: Image = frame.to_image()
    return image.rotate(frame.rotation, expand=True)


def _empty(path: Path) -> ValueError:
    return ValueError(f"{path}: the video has no frames")


def _unreadable(path: Path, error: Exception) -> Exception:
    """The error of PyAV as it is told; a file that is not there stays an OSError."""
    if isinstance(error, IndexError):
        return ValueError(f"{path}: there are no pictures in it, so it is no video")
    missing = isinstance(error, OSError) and error.errno is not None and not path.is_file()
    said = getattr(error, "strerror", None) or error
    return error if missing else ValueError(f"{path}: no video that can be read ({said})")
