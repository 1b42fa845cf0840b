"""Frames of video files."""

import numpy as np
import pytest

from foveal.core import Size
from foveal.models import CropToSquare, MarkedPlan, VideoPlan
from recipes.evaluation.frames import frame_size, frames_for, frames_of

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


def test_the_size_of_frames(video):
    assert frame_size(video) == Size(64, 48) == Size.of(frames_of(video, 1)[0].size)


@pytest.mark.parametrize(("turn", "bright"), [(-90, "left"), (90, "right"), (180, "bottom")])
def test_a_video_of_a_phone_that_was_held_upright(tmp_path, turn, bright):
    """The file says by how much its frames are to be turned: what is bright as they are stored is at the top then."""
    shades = np.zeros((48, 64, 3), dtype=np.uint8)
    shades[{"bottom": np.s_[24:], "left": np.s_[:, :32], "right": np.s_[:, 32:]}[bright]] = 255
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(turn)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(shades, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = frames_of(tmp_path / "a.mp4", 1)
    assert Size.of(frame.size) == frame_size(tmp_path / "a.mp4") == (Size(64, 48) if turn == 180 else Size(48, 64))
    brightness = np.asarray(frame).mean((1, 2))
    assert brightness[3] > 250 > 5 > brightness[-3]


def test_how_many_frames():
    whole = VideoPlan(CropToSquare(28), frames=4)
    assert [frames_for(CropToSquare(28), asked) for asked in (None, 1, 20)] == [8, 1, 20]
    assert [frames_for(plan, asked) for plan in (whole, MarkedPlan(whole)) for asked in (None, 4)] == [4] * 4
    with pytest.raises(ValueError, match="--frames is 8, but the model was made for 4 frames of a video"):
        frames_for(whole, 8)


def test_no_video(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"text" * 100)
    with pytest.raises(ValueError, match=r"a.mp4: no video that can be read \(Invalid data found[\w ]*\)$"):
        frames_of(tmp_path / "a.mp4", 2)
    with pytest.raises(FileNotFoundError):
        frames_of(tmp_path / "none.mp4", 2)
    with pytest.raises(ValueError, match=r"a.mp4: no video that can be read"):
        frame_size(tmp_path / "a.mp4")
    with pytest.raises(FileNotFoundError):
        frame_size(tmp_path / "none.mp4")


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux([*stream.encode(silence), *stream.encode(None)])
    for asked in (frame_size, lambda path: frames_of(path, 2)):
        with pytest.raises(ValueError, match=r"a.mp4: there are no pictures in it, so it is no video"):
            asked(tmp_path / "a.mp4")


def test_a_cut_video(video):
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a.mp4"):
        frames_of(video, 2)
