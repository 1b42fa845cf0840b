"""Folders of InternVL's own code, and settings of both layouts that cannot be honoured."""

import json

import pytest
from packages.models.tests.heirs.internvl.folders import (
    LARGE,
    MESSAGES,
    QUESTION,
    VISION,
    as_the_authors_write,
    asked,
    check_beside,
    theirs,
)
from packages.models.tests.heirs.references import noise, stating

from foveal.models import load

DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
"""As in the language model of InternVL3-1B."""
SYSTEM = "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"


@pytest.mark.parametrize("large", [False, True])
def test_the_layout_of_the_original_code(write, processor, large):
    """With its own system text."""
    reference = theirs(processor, vision=LARGE if large else VISION, rope=DYNAMIC)
    model = load(as_the_authors_write(write(reference)))
    picture = noise(95, 60)
    messages = [{"role": "system", "content": SYSTEM}, *MESSAGES]
    check_beside(model, reference, [picture], QUESTION, asked(processor, [picture], messages))
    folder = as_the_authors_write(write(reference, "again"), system_message="Be brief.", dynamic_image_size=False)
    changed = load(folder)
    assert (changed.processor.system, changed.processor.plan.max_tiles) == ("Be brief.", 1)


@pytest.mark.parametrize(
    ("layout", "changed", "message"),
    [
        ("transformers", {"projector_hidden_act": "relu"}, "projector_hidden_act is 'relu', which cannot be read"),
        ("transformers", {"vision_feature_select_strategy": "full"}, "known is 'default'"),
        ("transformers", {"vision_feature_layer": [-1, -2]}, r"vision_feature_layer is \[-1, -2\], several layers"),
        ("transformers", {"downsample_ratio": 0.3}, "downsample_ratio is 0.3, which cannot be read"),
        ("transformers", {"text_config": {"model_type": "gpt_oss"}}, "kind 'gpt_oss' cannot be read, known are qwen2"),
        ("transformers", {"text_config": None}, r"describes no language model \(text_config\)"),
        ("original", {"llm_config": {"model_type": "internlm2"}}, r"'internlm2' .*in transformers' layout \(NAME-hf\)"),
        ("original", {"ps_version": "v1"}, "ps_version is 'v1', which cannot be read: known is 'v2'"),
        ("original", {"template": "Hermes-2"}, "template is 'Hermes-2'"),
        ("original", {"use_thumbnail": False}, "use_thumbnail is False"),
        ("original", {"pad2square": True}, "pad2square is True"),
        ("original", {"use_llm_lora": 16}, "use_llm_lora is 16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_honoured(write, processor, layout, changed, message):
    folder = write(theirs(processor))
    if layout == "original":
        as_the_authors_write(folder)
    stating(folder, **changed)
    with pytest.raises(ValueError, match=message):
        load(folder)


@pytest.mark.parametrize("setting", ["ps_version", "use_thumbnail"])
def test_a_missing_setting_has_the_value_of_the_authors_code(write, processor, setting):
    folder = as_the_authors_write(write(theirs(processor)))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config[setting]
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{setting} is ('v1'|False), which cannot be read"):
        load(folder)
