"""Weights from files, all or none."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from foveal.core import Derived, StoredTensors, load_exact, read_tensors


def test_a_file_a_folder_and_shards(tmp_path):
    first, second = {"a": torch.randn(2)}, {"b": torch.randn(3)}
    save_file(first, tmp_path / "model.safetensors")
    assert torch.equal(read_tensors(tmp_path)["a"], first["a"])
    assert torch.equal(read_tensors(tmp_path / "model.safetensors")["a"], first["a"])
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    save_file(first, sharded / "1.safetensors")
    save_file(second, sharded / "2.safetensors")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert set(read_tensors(sharded)) == {"a", "b"}
    (sharded / "2.safetensors").unlink()
    with pytest.raises(ValueError, match=r"2 files, 1 are missing: \['2.safetensors'\]"):
        read_tensors(sharded)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="there are no weights"):
        read_tensors(tmp_path / "nothing.safetensors")
    path = tmp_path / "cut.safetensors"
    save_file({"a": torch.randn(100)}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"cut\.safetensors is damaged"):
        read_tensors(path)
    pickled = tmp_path / "model.bin"
    torch.save({}, pickled)
    with pytest.raises(ValueError, match="pickled weights"):
        read_tensors(pickled)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", r"model\.safetensors\.index\.json is damaged or not an index"),
        ("{}", r"is damaged or not an index of shards \(KeyError: 'weight_map'\)"),
        (
            '{"weight_map": {"a": "../outside.safetensors"}}',
            r"shards must be in the folder of their index, not at \['\.\./outside",
        ),
        ('{"weight_map": {"a": "1.safetensors", "c": "1.safetensors"}}', r"1 tensors .* are in no file: \['c'\]"),
    ],
)
def test_an_index_that_cannot_be_followed(tmp_path, index, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "1.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=message):
        read_tensors(folder)


def test_a_folder_of_pickled_weights(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no model\.safetensors, only pytorch_model\.bin: pickled weights"):
        read_tensors(tmp_path)


def test_tensors_that_are_computed_when_they_are_read(tmp_path):
    stored = {"weight": torch.ones(4), "scale": torch.tensor([3.0]), "bias": torch.zeros(2)}
    save_file(stored, tmp_path / "model.safetensors")
    double = Derived(
        torch.empty(2, 2, device="meta"), ("weight", "scale"), lambda by: (by["weight"] * by["scale"]).view(2, 2)
    )
    read = StoredTensors(tmp_path).derived({"weight": double})
    assert read.shapes == {"weight": (2, 2), "bias": (2,)}
    found = dict(read.stream({"weight", "bias", "scale"}))
    assert found.keys() == {"weight", "bias"}
    assert torch.equal(found["weight"], torch.full((2, 2), 3.0))
    assert dict(read.stream({"bias"})).keys() == {"bias"}
    other = read.replaced_by({"scale": torch.tensor([2.0])})
    assert torch.equal(dict(other.stream({"weight"}))["weight"], torch.full((2, 2), 2.0))
    assert torch.equal(dict(read.replaced_by({"weight": torch.ones(1)}).stream({"weight"}))["weight"], torch.ones(1))


def test_a_module_without_memory_is_refused():
    with pytest.raises(ValueError, match=r"no memory for 2 tensors, e\.g\. bias: call module\.to_empty"):
        load_exact(nn.Linear(2, 3, device="meta"), {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, source="here")


def test_load_exact_copies_into_the_dtype_of_the_module():
    module = nn.Linear(2, 3).to(torch.bfloat16)
    load_exact(module, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, source="here")
    assert module.weight.dtype == torch.bfloat16
    assert module.weight.sum() == 6


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(3, 2)}, "here does not fit Linear; tensors 1 missing: bias"),
        ({"weight": torch.ones(3, 2), "bias": torch.zeros(3), "extra": torch.zeros(1)}, "1 unexpected: extra"),
        ({"weight": torch.ones(2, 3), "bias": torch.zeros(3)}, r"weight is \(2, 3\), the model's is \(3, 2\)"),
    ],
)
def test_nothing_is_loaded_when_anything_is_wrong(tensors, message):
    module = nn.Linear(2, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_exact(module, tensors, source="here")
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.fixture
def nobody():
    """As a user who may not read everything, in a folder that others may look into."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder), lambda: os.seteuid(user or 65534)
        os.seteuid(user)


def test_what_may_not_be_read_is_not_called_missing(nobody):
    folder, become = nobody
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0)
    become()
    for read in (read_tensors, StoredTensors):
        for path in (folder, folder / "model.safetensors"):
            with pytest.raises(ValueError, match=r"model\.safetensors cannot be read: Permission denied"):
                read(path)
