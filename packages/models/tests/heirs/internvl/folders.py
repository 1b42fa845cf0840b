"""Tiny InternVLs of transformers, written as folders in its layout and in that of InternVL's own code."""

import json
from functools import partial

import torch
from packages.models.tests.heirs import comparisons
from packages.models.tests.heirs.references import shaken
from packages.models.tests.intern_vit_names import as_the_authors_name
from safetensors.torch import load_file, save_file
from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from foveal.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from foveal.models import Turn

SIDE, PATCH = 28, 7
TOKENS = (SIDE // PATCH // 2) ** 2
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "attention_bias": True,
    "use_qk_norm": False,
    "norm_type": "layer_norm",
}
LARGE = VISION | {"attention_bias": False, "use_qk_norm": True, "norm_type": "rms_norm"}
TEXT = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{{ '<IMG_CONTEXT>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Writes what the template of the published folders writes."""


def processor_of(tokenizer):
    """Their processor with such a tokenizer and the tokens that it needs."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    )
    images = GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )
    return InternVLProcessor(images, tokenizer, InternVLVideoProcessor(), TOKENS, TEMPLATE)


def theirs(processor, *, text=Qwen2Config, vision=VISION, rope=None, tied=False, **options):
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(**vision),
        text_config=text(**TEXT, rope_parameters=rope),
        image_token_id=processor.image_token_id,
        image_seq_length=TOKENS,
        tie_word_embeddings=tied,
        **options,
    )
    return shaken(InternVLForConditionalGeneration(config))


def written(folder, reference, processor):
    """The folder, with the model and the processor as transformers writes them."""
    reference.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


OUTSIDE_THE_TOWER = (
    (r"^vision_tower\.", "vision_model."),
    (r"^multi_modal_projector\.layer_norm", "mlp1.0"),
    (r"^multi_modal_projector\.linear_1", "mlp1.1"),
    (r"^multi_modal_projector\.linear_2", "mlp1.3"),
)


def as_the_authors_write(folder, **changed):
    """Rewrite a folder in the layout of OpenGVLab/InternVL3-1B."""
    tensors = load_file(folder / "model.safetensors")
    save_file(as_the_authors_name(tensors, OUTSIDE_THE_TOWER), folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    rope, text["tie_word_embeddings"] = text.pop("rope_parameters"), config["tie_word_embeddings"]
    scaling = {"factor": rope["factor"], "rope_type": "dynamic", "type": "dynamic"} if "factor" in rope else None
    written = {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": SIDE,
        "llm_config": {**text, "rope_theta": rope["rope_theta"], "rope_scaling": scaling},
        "max_dynamic_patch": 12,
        "min_dynamic_patch": 1,
        "pad2square": False,
        "ps_version": "v2",
        "select_layer": config["vision_feature_layer"],
        "template": "internvl2_5",
        "use_backbone_lora": 0,
        "use_llm_lora": 0,
        "use_thumbnail": True,
        "vision_config": {
            **{name: vision[name] for name in VISION if name not in ("image_size", "patch_size")},
            "model_type": "intern_vit_6b",
            "image_size": SIDE,
            "patch_size": PATCH,
            "qkv_bias": vision["attention_bias"],
            "qk_normalization": vision["use_qk_norm"],
        },
    }
    (folder / "config.json").write_text(json.dumps(written | changed))
    (folder / "processor_config.json").unlink()
    return folder


def asked(processor, pictures, messages):
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(images=pictures, text=text, return_tensors="pt")


check_beside = partial(comparisons.check_beside, placeholder="<IMG_CONTEXT>")
QUESTION = [Turn("user", "<image>\nWhat is it?")]
MESSAGES = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
