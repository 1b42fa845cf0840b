"""Frames of a video file."""

from pathlib import Path

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
    """The size of a video's frames, without decoding it. Errors are those of `frames_of`."""
    av = extra("av", "video", "reading videos")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return Size(stream.width, stream.height)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path, error) from error


def frames_of(path: Path, number: int) -> list[Image]:
    """Frames at even distances, each in the middle of its part of the video; fewer if it has fewer.

    Args:
        path: a file that FFmpeg reads.
        number: how many.

    Raises:
        ValueError: naming the file, if it has no frames or is damaged.
        ImportError: without PyAV.
        OSError: if it cannot be read.
    """
    av = extra("av", "video", "reading videos")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            total = sum(1 for _ in container.decode(stream))
        wanted = {int((place + 0.5) * total / number) for place in range(number)} if total else set()
        with av.open(str(path)) as container:
            decoded = enumerate(container.decode(container.streams.video[0]))
            frames: list[Image] = [frame.to_image() for place, frame in decoded if place in wanted]
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path, error) from error
    if not frames:
        raise ValueError(f"{path}: the video has no frames")
    return frames


def _unreadable(path: Path, error: Exception) -> Exception:
    """The error of PyAV as it is told; a file that is not there stays an OSError."""
    if isinstance(error, IndexError):
        return ValueError(f"{path}: there are no pictures in it, so it is no video")
    missing = isinstance(error, OSError) and error.errno is not None and not path.is_file()
    said = getattr(error, "strerror", None) or error
    return error if missing else ValueError(f"{path}: no video that can be read ({said})")
