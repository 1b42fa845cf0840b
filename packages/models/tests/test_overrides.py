"""Every option of `load` and `load_adapter` reaches the function that opens the folder."""

import inspect
from dataclasses import fields

import pytest

from foveal.models import load, load_adapter
from foveal.models.checkpoints import load as loading
from foveal.models.checkpoints.overrides import Overrides

OPTIONS = {field.name: field.default for field in fields(Overrides)}


@pytest.mark.parametrize("opens", [load, load_adapter])
def test_options_are_flat_names_with_the_defaults_of_overrides(opens):
    signature = inspect.signature(opens).parameters
    stated = {name: each.default for name, each in signature.items() if name not in ("folder", "base")}
    assert stated == OPTIONS


@pytest.mark.parametrize(("opens", "inside"), [(load, "open_model"), (load_adapter, "_open_adapter")])
def test_every_option_reaches_its_own_field(opens, inside, monkeypatch):
    monkeypatch.setattr(loading, inside, lambda *asked: asked[-1])
    given = {name: object() for name in OPTIONS}
    assert opens("folder", **given) == Overrides(**given)
