"""Weight names, there and back."""

import pytest
import torch

from foveal.core import KeyMap

MAP = KeyMap(
    {
        "layers.{}.q.weight": "blocks.{}.query.weight",
        tuple(f"layers.{{}}.{part}.bias" for part in "qkv"): "blocks.{}.qkv",
        "step": None,
    }
)


def published():
    return {
        "layers.12.q.weight": torch.randn(2, 2),
        **{f"layers.3.{part}.bias": torch.full((2,), float(number)) for number, part in enumerate("qkv")},
    }


def test_read_renames_joins_and_drops():
    read = MAP.read({**published(), "step": torch.zeros(())})
    assert set(read) == {"blocks.12.query.weight", "blocks.3.qkv"}
    assert read["blocks.3.qkv"].tolist() == [0, 0, 1, 1, 2, 2]


def test_write_is_the_inverse():
    written = MAP.write(MAP.read(published()))
    assert set(written) == set(published())
    assert written["layers.3.v.bias"].tolist() == [2, 2]


def test_two_names_never_become_one():
    two = KeyMap({"old.{}.weight": "layers.{}.weight", "new.{}.weight": "layers.{}.weight"})
    with pytest.raises(ValueError, match=r"here: new.1.weight and old.1.weight would both become layers.1.weight"):
        two.read({"old.1.weight": torch.zeros(1), "new.1.weight": torch.ones(1)}, source="here")


def test_faults_are_named():
    with pytest.raises(ValueError, match=r"file\.x: 1 tensors of unknown name, among them \['strange'\]"):
        MAP.read({"strange": torch.zeros(1)}, source="file.x")
    partial = published()
    del partial["layers.3.k.bias"]
    with pytest.raises(ValueError, match=r"\['layers.3.k.bias'\] missing, to be joined with"):
        MAP.read(partial)
    partial["layers.3.k.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"the same shape, found .*'layers.3.k.bias': \(3,\)"):
        MAP.read(partial)
    with pytest.raises(ValueError, match=r"blocks\.3\.qkv has 4 rows, which do not split into 3 parts"):
        MAP.write({"blocks.3.qkv": torch.zeros(4)})
    with pytest.raises(ValueError, match="leads to nowhere"):
        MAP.write({"nowhere": torch.zeros(1)})
    with pytest.raises(ValueError, match="the same number of"):
        KeyMap({"a.{}": "b"})
