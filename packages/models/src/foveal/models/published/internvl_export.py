"""Convert a model with InternVL's parts to transformers' InternVL, and write its processor."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from foveal.connectors import PixelShuffle
from foveal.connectors.shuffle import TRANSFORMERS as PROJECTOR
from foveal.encoders import VisionTransformer
from foveal.encoders.intern_vit_weights import TRANSFORMERS as TOWER
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.template_texts import find_template
from foveal.models.prompts.tokenize import add_special_tokens
from foveal.models.published.image_processors import GOT, square_views
from foveal.models.published.internvl_layout import DOWNSAMPLINGS
from foveal.models.published.library_language_models import filled, library_language_model, odd_language_model
from foveal.models.views.tiles import DynamicTilesPlan

TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
"""transformers' names of the tokens that its processor asks the tokenizer for."""
IMAGE = TOKENS["context_image_token"]
QUERY_NORM_EPS = 1e-6
"""transformers' epsilon in the norms of queries and keys, whatever the configuration says."""
CHATML = ("chatml", "internvl")
"""Templates that a chat template is written for."""


def has_its_parts(model: VisionLanguageModel) -> bool:
    """Whether connector and plan are InternVL's, so that transformers' InternVL is the class to try."""
    return type(model.connector) is PixelShuffle and type(model.processor.plan) is DynamicTilesPlan


def no_equivalent(model: VisionLanguageModel) -> str:
    """Why transformers' InternVL does not compute the same as a model with its parts; empty if it does."""
    tower, plan, connector = model.encoder, model.processor.plan, model.connector
    assert isinstance(plan, DynamicTilesPlan)
    assert isinstance(connector, PixelShuffle)
    if not isinstance(tower, VisionTransformer) or not is_intern_vit(tower):
        return f"the encoder, a {type(tower).__name__}, is not an InternViT of which one layer is used"
    if tower.norm_queries and tower.norm_eps != QUERY_NORM_EPS:
        return f"the norms of queries and keys have an epsilon of {tower.norm_eps}, in transformers {QUERY_NORM_EPS}"
    if 1 / connector.ratio not in DOWNSAMPLINGS:
        return f"the connector joins blocks of {connector.ratio} x {connector.ratio} cells"
    if plan.size != tower.image_size:
        return f"its views have {plan.size} pixels a side, the tower was made for {tower.image_size}"
    if (plan.start, plan.end, plan.enclose_together) != (TOKENS["start_image_token"], TOKENS["end_image_token"], False):
        return f"the texts around its pictures are {plan.start!r} and {plan.end!r}, or shared by several pictures"
    if model.merge is not None:
        return f"its views are merged by {type(model.merge).__name__}"
    return odd_language_model(model.language_model)


def is_intern_vit(tower: VisionTransformer) -> bool:
    """Whether the tower is one that transformers' InternViT can be, and returns one layer as that does."""
    return (
        tower.use_class_token
        and tower.patch_bias
        and tower.layer_scale
        and tower.activation == "gelu"
        and not (tower.use_pre_norm or tower.num_registers or tower.keep_class_token)
        and len(tower.states) == 1
    )


def to_library(model: VisionLanguageModel) -> tuple[Any, PreTrainedTokenizerBase]:
    """The transformers model that computes the same, sharing memory with `model`, and a tokenizer with its tokens.

    Args:
        model: a model for which `no_equivalent` returns an empty string.
    """
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig

    tower: Any = model.encoder
    connector: Any = model.connector
    tokenizer = copy.deepcopy(model.processor.tokenizer)
    add_special_tokens(tuple(TOKENS.values()), tokenizer)
    language_model, text = library_language_model(model.language_model, len(tokenizer))
    vision = InternVLVisionConfig(
        hidden_size=tower.width,
        intermediate_size=tower.mlp_width,
        num_hidden_layers=len(tower.blocks),
        num_attention_heads=tower.heads,
        image_size=tower.image_size,
        patch_size=tower.patch_size,
        hidden_act=tower.activation,
        layer_norm_eps=tower.norm_eps,
        norm_type="rms_norm" if tower.norm == "rms" else "layer_norm",
        attention_bias=tower.qkv_bias,
        use_qk_norm=tower.norm_queries,
        use_mean_pooling=tower.final_norm is None,
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=connector.num_tokens(tower.native_grid),
        downsample_ratio=1 / connector.ratio,
        tie_word_embeddings=text.tie_word_embeddings,
        pad_token_id=tokenizer.pad_token_id,
    )
    tensors = {
        **language_model,
        **{f"model.vision_tower.{name}": tensor for name, tensor in TOWER.write(tower.state_dict()).items()},
        **{f"model.multi_modal_projector.{n}": t for n, t in PROJECTOR.write(connector.state_dict()).items()},
    }
    # In transformers' tower these two have dimensions of 1 in front.
    for name in ("cls_token", "position_embeddings"):
        place = f"model.vision_tower.embeddings.{name}"
        tensors[place] = tensors[place].reshape(1, -1, tower.width)
    with torch.device("meta"):
        built: Any = InternVLForConditionalGeneration(config)
    return filled(built, tensors, model.language_model), tokenizer


def save_processor(model: VisionLanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write the tokenizer, and the settings of transformers' processor for the views and placeholders of `model`.

    They are written as files: transformers makes such a processor only where torchvision is installed.

    Args:
        model: a model for which `no_equivalent` returns an empty string.
        tokenizer: with `TOKENS`.
        folder: the exported folder.
    """
    tower: Any = model.encoder
    plan: Any = model.processor.plan
    if model.processor.template in CHATML:
        tokenizer.chat_template = _chat_template(model.processor.template, model.processor.system)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(stated | {"extra_special_tokens": TOKENS}, indent=2, ensure_ascii=False), "utf-8")
    pixels = square_views(tower)
    settings = {
        "processor_class": "InternVLProcessor",
        "image_seq_length": model.connector.num_tokens(tower.native_grid),
        "image_processor": {
            **pixels,
            "image_processor_type": GOT,
            "crop_to_patches": True,
            "min_patches": plan.min_tiles,
            "max_patches": plan.max_tiles,
        },
        "video_processor": {
            **pixels,
            "video_processor_type": "InternVLVideoProcessor",
            "do_sample_frames": False,
        },
    }
    (folder / "processor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _chat_template(name: str, system: str | None) -> str:
    """ChatML as transformers' templates are written, for messages of text, pictures and videos."""
    text = find_template(name).system if system is None else system
    turn = "{{ '<|im_start|>' + message['role'] + '\n' }}"
    opening = f"{{{{ '<|im_start|>system\n' + {json.dumps(text, ensure_ascii=False)} + '<|im_end|>\n' }}}}"
    parts = (
        f"{{% if part['type'] == 'image' %}}{{{{ '{IMAGE}\n' }}}}"
        f"{{% elif part['type'] == 'video' %}}{{{{ '{TOKENS['video_token']}\n' }}}}"
        "{% else %}{{ part['text'] }}{% endif %}"
    )
    return (
        (f"{{% if messages[0]['role'] != 'system' %}}{opening}{{% endif %}}" if text else "")
        + f"{{% for message in messages %}}{turn}"
        + "{% if message['content'] is string %}{{ message['content'] }}"
        + f"{{% else %}}{{% for part in message['content'] %}}{parts}{{% endfor %}}{{% endif %}}"
        + "{{ '<|im_end|>\n' }}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
