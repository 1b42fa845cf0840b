"""The index of a file's conversations: made once, found again, made anew when something has changed."""

import fcntl
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
from PIL import Image

from foveal.core import Size
from recipes.data.bad_samples import BadSamples
from recipes.data.dataset import RecordDataset
from recipes.data.index import open_records as opening
from recipes.data.index.build import build_index
from recipes.data.index.open_records import open_records


def record(number, **changes):
    talk = [{"from": "human", "value": f"{number}?"}, {"from": "gpt", "value": "a " * number + "."}]
    return {"id": number, "image": "a.png", "conversations": talk} | changes


@pytest.fixture
def built(monkeypatch):
    """How often an index was made."""
    calls = []
    monkeypatch.setattr(opening, "build_index", lambda *given: (calls.append(given), build_index(*given)))
    return calls


def test_it_is_made_once(file, built, monkeypatch):
    first = open_records(file)
    assert list(open_records(file)) == list(first)
    monkeypatch.chdir(file.parent)
    assert open_records("data.json").text(0) == first.text(0)
    assert len(built) == 1
    assert [first.sizes(number) for number in range(3)] == [(Size(8, 4),), (), (Size(8, 4),)]


@pytest.mark.parametrize("change", ["text", "picture", "missing", "version"])
def test_it_is_made_anew_after_a_change(file, built, monkeypatch, change):
    before = open_records(file)
    if change == "text":
        file.write_text(file.read_text().replace("1?", "4?"))
    elif change == "picture":
        Image.new("RGB", (6, 2)).save(file.parent / "a.png")
    elif change == "missing":
        (file.parent / "a.png").unlink()
    else:
        monkeypatch.setattr(opening, "VERSION", 0)
    after = open_records(file, policy=BadSamples("skip", 1.0))
    assert len(built) == 2
    assert (after.fingerprint == before.fingerprint) == (change != "text")
    assert list(after.faults) == ([0, 2] if change == "missing" else [])
    assert after.sizes(0) == (Size(*{"picture": (6, 2), "missing": (0, 0)}.get(change, (8, 4))),)


def test_of_many_pictures_only_the_faulty_are_looked_at_again(file, built, monkeypatch):
    monkeypatch.setattr(opening, "LOOKED_AT", 0)
    policy = BadSamples("skip", 1.0)
    file.write_text(json.dumps([record(1), record(2, image="b.png")]))
    assert list(open_records(file, policy=policy).faults) == [1]
    Image.new("RGB", (6, 2)).save(file.parent / "a.png")
    open_records(file, policy=policy)
    assert len(built) == 1
    Image.new("RGB", (6, 2)).save(file.parent / "b.png")
    assert not open_records(file, policy=policy).faults
    assert len(built) == 2


def test_messages_are_short_and_printable(file):
    file.write_text(json.dumps([record(1, id="\x1b[31m" + "i" * 1000, image="b\n\ud800.png"), {"image": ["x"] * 9000}]))
    records = open_records(file, policy=None)
    for fault in records.faults.values():
        assert fault.isprintable()
        assert len(fault) < 1200
    assert "id \\x1b[31mii" in records.faults[0]
    assert records.text(0)[0].isprintable()


def test_pictures_of_another_file_are_not_taken_for_those_that_were_indexed(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"

    def write(*colours):
        with tarfile.open(tmp_path / "new.tar", "w") as tar:
            for number, colour in enumerate(colours):
                stream = io.BytesIO()
                Image.new("RGB", (8, 8), colour).save(stream, "BMP")
                for name, content in ((f"{number}.bmp", stream.getvalue()), (f"{number}.txt", b"A colour.")):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        os.replace(tmp_path / "new.tar", path)

    write("red", "blue")
    records = open_records(path)
    before = records.images(0)
    write("blue", "red")
    monkeypatch.setattr("recipes.data.index.stored.BETWEEN_CHECKS", 0.0)
    with pytest.raises(OSError, match=r"a\.tar was changed after it was indexed: start the run again"):
        records.images(0)
    skipping = RecordDataset(records, None, policy=BadSamples("skip"))
    with pytest.raises(OSError, match="was changed after it was indexed"):
        skipping[0]
    assert open_records(path).images(1) == before


def test_a_full_disk_is_explained(file, monkeypatch):
    monkeypatch.setattr(opening, "build_index", lambda *given: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(ValueError, match=r"the disk of .*indices is full: .* set FOVEAL_CACHE to another folder"):
        open_records(file)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", "/dev/zero"):
        with pytest.raises(ValueError, match=f"{path} is a pipe or a device: write its content into a file"):
            open_records(path)


@pytest.mark.parametrize("name", ["index.json", "texts.bin", "faults.json", "starts.npy", "sizes.npy", "words.npy"])
@pytest.mark.parametrize("left", [None, 0, 30])
def test_a_damaged_index_is_made_anew(file, built, name, left):
    before = list(open_records(file))
    damaged = open_records(file).folder / name
    content = damaged.read_bytes()
    damaged.unlink()
    if left is not None:
        damaged.write_bytes(content[:left] if name != "faults.json" else b"")
    assert list(open_records(file)) == before
    assert len(built) == 2


def test_faults_name_the_file_as_it_was_given(file, monkeypatch):
    file.write_text(json.dumps([record(1, image="b.png")] * 2))
    monkeypatch.chdir(file.parent)
    for path in (file, "data.json"):
        with pytest.raises(ValueError, match=f"\n{path}, record 1 "):
            open_records(path)


def test_another_process_waits_until_it_is_made(file, built):
    folder = opening._folder(file, None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(open_records, file)
        sleep(0.1)
        assert not waiting.done()
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert len(waiting.result()) == 3
    assert len(built) == 1


def test_a_cache_that_cannot_be_written(file, monkeypatch):
    monkeypatch.setenv("FOVEAL_CACHE", str(file))
    with pytest.raises(ValueError, match=r"set FOVEAL_CACHE to a folder"):
        open_records(file)


def test_an_index_that_is_sent_to_a_process_is_small_and_the_same(file):
    records = open_records(file)
    sent = pickle.dumps(records)
    assert len(sent) < 2000
    assert list(pickle.loads(sent)) == list(records)
    file.write_text(json.dumps([record(5)]))
    open_records(file)
    with pytest.raises(ValueError, match="was changed and indexed again by another run"):
        pickle.loads(sent)


@pytest.mark.slow
def test_a_script_that_its_own_processes_would_run_again(file, tmp_path):
    file.write_text(json.dumps([record(number) for number in range(20)]))
    script = tmp_path / "script.py"
    script.write_text(
        "from recipes.data import parallel\n"
        "from recipes.data.index import build, open_records\n"
        "build.FEW = 10\n"
        f"open_records.open_records({str(file)!r})\n"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert "put what your script does under `if __name__ == '__main__':`" in ran.stderr


def test_a_process_that_is_killed_leaves_no_half_index(file, built):
    process = multiprocessing.get_context("fork").Process(target=killed_while_writing, args=(file,))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert len(open_records(file)) == 3
    assert len(built) == 1


def killed_while_writing(file):
    np.save = lambda *given: os.kill(os.getpid(), 9)
    open_records(file)
