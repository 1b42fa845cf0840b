"""Layouts that always contain their tower take no other one."""

from types import SimpleNamespace

import pytest

from foveal.models.published import (
    deepseek_ocr2_layout,
    got_layout,
    internvl_layout,
    minicpm_layout,
    qwen3_vl_layout,
)

LAYOUTS = (deepseek_ocr2_layout, got_layout, internvl_layout, minicpm_layout, qwen3_vl_layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__.rpartition(".")[2])
def test_another_tower_is_refused(layout):
    with pytest.raises(ValueError, match=r"the/folder has its own image tower.*\(openai/clip\)"):
        layout.draft({}, SimpleNamespace(source="the/folder"), "openai/clip")
