"""Training states on disk are read back exactly; damaged, foreign or unsuitable ones are refused by name."""

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

from recipes.data.modules import DataIdentity
from recipes.data.ranks import Position
from recipes.states import StateError, entries, find_state, newest_state, writing
from recipes.states.contents import pieces, restore
from recipes.states.folder import MANIFEST, read_manifest, rewrite_manifest
from recipes.states.pieces import piece_of
from recipes.states.randomness import random_state, set_random_state
from recipes.states.ranks import Ranks
from recipes.states.stored import StoredState
from recipes.states.writing import abandon_later, keep_newest, write_state

TENSORS = {
    "weight/matrix": torch.arange(12.0).view(4, 3),
    "weight/half": torch.linspace(-1, 1, 10).view(5, 2).bfloat16(),
    "buffer/number": torch.tensor(7),
    "buffer/flags": torch.tensor([True, False]),
    "optimizer/matrix/step": torch.tensor(3.0),
    "random/0/python_gauss": torch.zeros(0, dtype=torch.float64),
    "weight/no_rows": torch.zeros(0, 3),
}


def written(states, step=1, tensors=TENSORS):
    return write_state(states, {"step": step}, ((name, rows, 0) for name, rows in tensors.items()), Ranks())


def refused(state):
    """The message with which a state is refused when it is opened, verified and read."""

    def read():
        stored = StoredState(find_state(state))
        stored.verify(Ranks())
        for name in TENSORS:
            stored.whole(name)

    with pytest.raises(StateError) as caught:
        read()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "weights_only" not in message
    return message


def forged(state, **changes):
    """Change entries of a state's manifest, and its checksum."""
    rewrite_manifest(state, changes)


@pytest.mark.parametrize("limit", [1 << 30, 40, 1])
def test_what_was_written_comes_back(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(writing, "FILE_BYTES", limit)
    state = written(tmp_path)
    assert state == tmp_path / "step-00000001"
    assert [path.name for path in tmp_path.iterdir()] == [state.name]
    assert len(list(state.glob("*.safetensors"))) == {1 << 30: 1, 40: 2, 1: 6}[limit]
    stored = StoredState(state)
    stored.verify(Ranks())
    assert stored.names("buffer/") == ["number", "flags"]
    for name, tensor in TENSORS.items():
        filled = torch.ones_like(tensor)
        stored.fill(filled, name)
        for back in (stored.whole(name), filled):
            assert back.dtype == tensor.dtype
            assert back.shape == tensor.shape
            assert back.equal(tensor)


def test_rows_of_several_ranks(tmp_path):
    matrix = TENSORS["weight/matrix"]

    class Both(Ranks):
        """The first rank, with what a second one would have gathered."""

        def gathered(self, value):
            own, failure = value
            if own is None:
                return [value]
            files, pieces = writing._write_files(tmp_path / ".step-00000001.partial", [("m", matrix[1:], 1)], 1)
            return [value, ((files, pieces), failure)]

    state = write_state(tmp_path, {"step": 1}, [("m", matrix[:1], 0)], Both())
    stored = StoredState(state)
    stored.verify(Ranks())
    assert stored.whole("m").equal(matrix)
    filled = torch.zeros_like(matrix)
    stored.fill(filled, "m")
    assert filled.equal(matrix)


def test_other_shapes_are_refused(tmp_path):
    stored = StoredState(written(tmp_path))
    for tensor, words in (
        (torch.zeros(3, 3), "weight/matrix has 4 rows, in this run it has 3"),
        (torch.zeros(4, 2), "the rows of weight/matrix are (3,), in this run (2,)"),
        (torch.tensor(0.0), "weight/matrix is (4, 3), in this run it is a single number"),
    ):
        with pytest.raises(StateError) as caught:
            stored.fill(tensor, "weight/matrix")
        assert words in str(caught.value)
    with pytest.raises(StateError, match="has no weight/other"):
        stored.whole("weight/other")


def test_pieces_share_memory():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    piece = piece_of(weight, 1)
    piece.rows.fill_(1)
    assert weight.detach().equal(torch.ones(2, 3))
    assert (piece.first, piece.shape, piece.copy) == (0, (2, 3), 1)


def test_generators_go_on(tmp_path):
    def drawn():
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]

    drawn()  # leaves half of a Gaussian pair in two of them
    state = random_state()
    first = drawn()
    stored = StoredState(written(tmp_path, tensors=state))
    set_random_state({name: stored.whole(name) for name in state})
    assert drawn() == first


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "page_flipped", "page_truncated", "page_empty"])
def test_damage(tmp_path, damage, earlier):
    if earlier:
        written(tmp_path, 1)
    state = written(tmp_path, 2)
    path = state / (MANIFEST if "page" in damage else "rank-00000-000.safetensors")
    content = bytearray(path.read_bytes())
    if damage.endswith("truncated"):
        path.write_bytes(content[: len(content) // 2])
    elif damage.endswith("flipped"):
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "page_empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    message = refused(tmp_path)
    assert message.startswith(f"{path} is damaged (")
    assert message.endswith(
        f"resume from an earlier one: --ckpt_path {tmp_path / 'step-00000001'}" if earlier else "is no earlier state"
    )


@pytest.mark.parametrize("text", ["[]", "3", '"page"', "{}", '{"format": 1}', "[" * 100_000, "\udcff", '{"a": NaN}'])
def test_a_page_of_something_else(tmp_path, text):
    (tmp_path / "step-00000001").mkdir()
    (tmp_path / "step-00000001" / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    assert "it is not the manifest of a training state" in refused(tmp_path)


def test_a_page_that_points_outside(tmp_path):
    state = written(tmp_path)
    outside = tmp_path / "outside.safetensors"
    shutil.copy(state / "rank-00000-000.safetensors", outside)
    described = read_manifest(state)
    (sums,) = described["files"].values()
    for name in ("../outside.safetensors", str(outside)):
        piece = {"file": name, "first": 0, "rows": 4}
        forged(state, files={name: sums}, tensors={"weight/matrix": [piece]})
        assert f"it names the file {name!r}" in refused(state)
        forged(state, files=described["files"], tensors={"weight/matrix": [piece]})
        assert f"it names the file {name!r}" in refused(state)


def test_another_format(tmp_path):
    state = written(tmp_path)
    forged(state, format=2)
    assert (
        refused(tmp_path)
        == f"{state / MANIFEST} has format 2, this version reads format 1: resume with the version that wrote it"
    )


def test_half_written_states_are_no_states(tmp_path):
    state = written(tmp_path, 1)
    os.replace(state, tmp_path / ".step-00000001.partial")
    assert newest_state(tmp_path) is None
    assert "holds no training state" in refused(tmp_path)
    state = written(tmp_path, 2)
    assert find_state(tmp_path) == state
    keep_newest(tmp_path, 2, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]
    (tmp_path / "step-00000003").mkdir()
    assert f"is an incomplete state; the newest complete one is {state}" in refused(tmp_path / "step-00000003")


def test_foreign_folders_and_pickled_files(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.yaml").write_text("format: 1")
    assert "holds no training state" in refused(tmp_path / "checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "epoch=0.ckpt")
    assert "pickled files are not read" in refused(tmp_path / "epoch=0.ckpt")
    assert "there is no training state" in refused(tmp_path / "nowhere")


def test_the_newest_are_kept_and_a_history_that_was_left_goes(tmp_path):
    for step in (1, 2, 3, 4):
        written(tmp_path, step)
    keep_newest(tmp_path, 3, 4)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "3", "4"]
    # Step 2 was resumed: its run rewrites step 3.
    again = written(tmp_path, 3, TENSORS | {"buffer/number": torch.tensor(8)})
    keep_newest(tmp_path, 3, 3)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "3"]
    assert StoredState(again).whole("buffer/number") == 8


def test_an_abandoned_history_is_not_the_newest(tmp_path):
    """Also if the run is killed before it writes its first state."""
    for _ in range(2):
        for step in (1, 2, 3):
            written(tmp_path, step)
        abandon_later(tmp_path, 1)
        assert newest_state(tmp_path) == tmp_path / "step-00000001"
    again = written(tmp_path, 2)
    keep_newest(tmp_path, 3, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", again.name]


class Full:
    """Lets the given number of writing calls pass, then the disk is full."""

    def __init__(self, monkeypatch, calls):
        self.left = calls
        for name in ("fsync", "replace", "mkdir"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(writing, "save", self.counted(writing.save))

    def counted(self, function):
        def call(*arguments, **options):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("earlier", [True, False])
def test_a_full_disk(tmp_path, monkeypatch, earlier):
    states = tmp_path / "states"
    newest = written(states, 1) if earlier else None
    monkeypatch.setattr(writing, "FILE_BYTES", 40)
    failed = 0
    for calls in range(30):
        message = None
        with monkeypatch.context() as patch:
            Full(patch, calls)
            try:
                written(states, 2)
            except StateError as error:
                message = str(error)
        if message is None:
            break
        failed += 1
        left = newest_state(states)
        what = f"the newest state is {left}" if left else "there is no state yet"
        assert message == f"disk full: {states / 'step-00000002'}; {what}"
        # After the last replace, only the folder is synced: the state is there and complete.
        if (states / "step-00000002").exists():
            StoredState(states / "step-00000002").verify(Ranks())
            shutil.rmtree(states / "step-00000002")
        assert not list(states.glob(".*"))
        assert newest_state(states) == newest
        if newest:
            StoredState(newest).verify(Ranks())
    assert failed >= 7


def test_a_full_disk_while_a_page_is_changed(tmp_path, monkeypatch):
    state = written(tmp_path)
    before = read_manifest(state)
    with monkeypatch.context() as patch:
        Full(patch, 0)
        with pytest.raises(OSError, match="No space left"):
            rewrite_manifest(state, {"validated": True})
    assert not list(state.glob("*.new"))
    assert read_manifest(state) == before


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    small, large = ({"weight/m": torch.zeros(size, 1000)} for size in (20, 60))
    first = written(tiny_disk, 1, small)
    with pytest.raises(StateError) as caught:
        written(tiny_disk, 2, large)
    assert str(caught.value) == f"disk full: {tiny_disk / 'step-00000002'}; the newest state is {first}"
    assert [path.name for path in tiny_disk.iterdir()] == ["step-00000001"]
    StoredState(first).verify(Ranks())
    second = written(tiny_disk, 2, small)
    assert json.loads((second / MANIFEST).read_text())["step"] == 2


RUN = {
    "ranks": 1,
    "validated": False,
    "optimizer": "adamw",
    "precision": "32-true",
    "frozen": [0, 0],
    "scaler": {},
    "position": {"epoch": 0, "samples": 4, "batch_size": 2, "parts": 1},
    "data": {"samples": 8, "fingerprint": "a"},
}


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({"files": ["a"]}, "files"),
        ({"files": {"a.safetensors": 3}}, r"files\.a\.safetensors"),
        ({"files": {"a.safetensors": {"bytes": "3", "sha256": ""}}}, r"files\.a\.safetensors\.bytes"),
        ({"tensors": {"weight/matrix": "x"}}, "tensors.weight/matrix"),
        ({"tensors": {"weight/matrix": [{"file": "a", "first": 0}]}}, r"tensors\.weight/matrix\[0\]"),
        ({"tensors": {"weight/matrix": []}}, "tensors.weight/matrix"),
        ({"step": "1"}, "step"),
        ({"step": True}, "step"),
        ({"position": {**RUN["position"], "epoch": None}}, r"position\.epoch"),
        ({"position": {"epoch": 1}}, "position"),
        ({"data": []}, "data"),
        ({"frozen": [1, "2"]}, r"frozen\[1\]"),
        ({"scaler": {"scale": "big"}}, r"scaler\.scale"),
        ({"validated": 1}, "validated"),
    ],
)
def test_entries_of_other_types_with_right_checksums(tmp_path, changes, entry):
    state = written(tmp_path)
    forged(state, **RUN)
    StoredState(state).check_complete()
    forged(state, **changes)
    assert re.search(rf"state\.json is damaged \({entry} is not what a training writes\)", refused(state))


@pytest.mark.parametrize("entry", RUN)
def test_a_run_cannot_be_resumed_without(tmp_path, entry):
    state = written(tmp_path)
    forged(state, **{name: value for name, value in RUN.items() if name != entry})
    with pytest.raises(StateError, match=f"it has no {entry}"):
        StoredState(state).check_complete()


def test_the_names_of_a_position_are_those_of_the_manifest():
    assert {field.name for field in fields(Position)} == entries.RUN["position"].keys()
    assert {field.name for field in fields(DataIdentity)} == entries.RUN["data"].keys()


def test_an_optimizer_without_its_steps(tmp_path):
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network.weight.sum().backward()
    optimizer.step()
    kept = ((name, rows, 0) for name, rows, _ in pieces(network, optimizer, {}, 0) if not name.endswith("/step"))
    state = write_state(tmp_path, {"step": 1}, kept, Ranks())
    with pytest.raises(StateError, match="lacks what the optimizer keeps for a weight"):
        restore(network, optimizer, StoredState(state))
