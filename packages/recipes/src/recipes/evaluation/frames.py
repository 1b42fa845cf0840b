"""Frames of a video file."""

from pathlib import Path

from PIL.Image import Image

from recipes.reading.extras import extra


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
        if isinstance(error, OSError) and error.errno is not None and not path.is_file():
            raise
        raise ValueError(f"{path}: no video that can be read ({error})") from error
    if not frames:
        raise ValueError(f"{path}: the video has no frames")
    return frames
