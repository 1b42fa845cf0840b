"""Frames of video files."""

import numpy as np
import pytest

from recipes.evaluation.frames import frames_of

av = pytest.importorskip("av")


@pytest.fixture
def video(tmp_path):
    """Ten frames, each brighter than the one before."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number + 20, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("number", "taken"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (20, range(10))])
def test_frames_are_in_the_middle_of_equal_parts(video, number, taken):
    frames = frames_of(video, number)
    assert [round(np.asarray(frame).mean() / 20 - 1) for frame in frames] == list(taken)
    assert all(frame.size == (64, 48) and frame.mode == "RGB" for frame in frames)


def test_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"text" * 100)
    with pytest.raises(ValueError, match=r"a.mp4: no video that can be read"):
        frames_of(tmp_path / "a.mp4", 2)
    with pytest.raises(FileNotFoundError):
        frames_of(tmp_path / "none.mp4", 2)


def test_a_cut_video(video):
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.mp4"):
        frames_of(video, 2)
