"""Folders that are written completely, or stay as they were."""

import contextlib
import itertools
import os
import signal
import sys
import time

import pytest
import torch
from safetensors.torch import save_file

from foveal.core import folders, whole_file, whole_folder


@pytest.mark.parametrize("before", [None, {}, {"old": "1", "both": "1"}])
def test_a_folder_takes_its_place_at_the_end(tmp_path, before):
    target = tmp_path / "deep" / "target"
    if before is not None:
        target.mkdir(parents=True)
        for name, text in before.items():
            (target / name).write_text(text)
    with whole_folder(target) as partial:
        assert list(partial.iterdir()) == []
        (partial / "both").write_text("2")
        assert target.exists() == (before is not None)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"both": "2"}
    assert list(target.parent.iterdir()) == [target]


def test_what_goes_wrong_leaves_everything_as_it_was(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").write_text("1")

    def interrupted():
        with whole_folder(target) as partial:
            (partial / "new").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_folders_of_the_user_are_left_alone(tmp_path):
    for name in ("target.partial", "target.old", ".target.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    with whole_folder(tmp_path / "target") as new:
        assert list(new.iterdir()) == []
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert names == {
        "target",
        *(name + end for name in ("target.partial", "target.old", ".target.old") for end in ("", "/mine")),
    }


def test_a_file_is_not_replaced_by_a_folder(tmp_path):
    (tmp_path / "target").write_text("mine")
    with pytest.raises(ValueError, match=r"target is a file"), whole_folder(tmp_path / "target"):
        pass
    assert (tmp_path / "target").read_text() == "mine"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "target").symlink_to(tmp_path / "disk")
    with whole_folder(tmp_path / "target") as new:
        (new / "file").touch()
    assert (tmp_path / "target").is_symlink()
    assert (tmp_path / "disk/file").exists()


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        with whole_folder(tmp_path / "target") as new:
            (new / "inner").mkdir()
            save_file({"a": torch.zeros(1)}, new / "inner/a.safetensors")
            (new / "open").touch(0o777)
        with whole_file(tmp_path / "b.safetensors") as file:
            save_file({"a": torch.zeros(1)}, file)
    finally:
        os.umask(before)
    assert (tmp_path / "target/inner").stat().st_mode & 0o777 == 0o777 & ~umask
    for name in ("target/inner/a.safetensors", "target/open", "b.safetensors"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.partial").write_text("mine")

    def failing():
        with whole_file(tmp_path / "a") as file:
            file.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failing()
    assert [path.name for path in tmp_path.iterdir()] == ["a.partial"]
    with whole_file(tmp_path / "a") as file:
        file.write_text("whole")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["mine", "whole"]


def test_two_at_once(tmp_path):
    """In one process and in two: the second is refused, nothing is mixed, and a third goes on after a kill."""
    target = tmp_path / "target"
    with whole_folder(target) as new:
        (new / "first").touch()
        with pytest.raises(ValueError, match="target is being written by another process"), whole_folder(target):
            pass
    assert [path.name for path in target.iterdir()] == ["first"]

    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        with whole_folder(target) as new:
            (new / "second").touch()
            os.write(writing, b"1")
            time.sleep(60)
        os._exit(1)
    os.read(reading, 1)
    with pytest.raises(ValueError, match="target is being written by another process"), whole_folder(target):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert [path.name for path in target.iterdir()] == ["first"]
    with whole_folder(target) as new:
        assert list(new.iterdir()) == []
        (new / "third").touch()
    assert [path.name for path in target.iterdir()] == ["third"]
    assert list(tmp_path.iterdir()) == [target]


def test_many_at_once(tmp_path):
    """Of eight processes some are refused; what is there in the end is of one of them."""
    target, children = tmp_path / "target", []
    for number in range(8):
        if (child := os.fork()) == 0:
            with contextlib.suppress(ValueError):
                for _ in range(20):
                    with whole_folder(target) as new:
                        for name in "abc":
                            (new / name).write_text(str(number))
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    texts = [path.read_text() for path in target.iterdir()]
    assert len(texts) == 3
    assert len(set(texts)) == 1
    assert list(tmp_path.iterdir()) == [target]


def killed_at(target, function, number, can_exchange):
    """Write `target` in another process, which is killed before its so manieth call of an `os` function."""
    if (child := os.fork()) == 0:
        calls, original = itertools.count(), getattr(os, function)

        def dying(*arguments, **options):
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        setattr(os, function, dying)
        if not can_exchange:
            folders._exchanged = lambda new, target: False
        with whole_folder(target) as new:
            for name in "ab":
                (new / name).write_text("new")
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def whole(target):
    texts = [path.read_text() for path in sorted(target.iterdir())]
    return texts in (["old"] * 2, ["new"] * 2)


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("function", ["replace", "fsync", "unlink", "rmdir", "mkdir", "close"])
def test_a_kill_at_any_moment(tmp_path, function, can_exchange):
    if can_exchange and sys.platform != "linux":
        pytest.skip("two names are exchanged on Linux")
    for number in range(20):
        target = tmp_path / str(number) / "target"
        target.mkdir(parents=True)
        for name in "ab":
            (target / name).write_text("old")
        killed = killed_at(target, function, number, can_exchange)
        if not target.exists():
            assert not can_exchange
            assert function == "replace"
            assert whole(target.parent / ".target.foveal-writing/old")
        else:
            assert whole(target)
        failing = pytest.raises(KeyError, match="no more")
        with failing, whole_folder(target):
            assert whole(target)
            raise KeyError("no more")
        assert whole(target)
        assert list(target.parent.iterdir()) == [target]
        if not killed:
            break
    else:
        pytest.fail("never came to the end")
    # Exchanging needs no os.replace.
    assert (number > 0) == ((function, can_exchange) != ("replace", True))
