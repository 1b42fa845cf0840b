"""A tiny model of a kind that only transformers opens (Idefics 3), with random weights."""

from pathlib import Path

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
)

from foveal.models import byte_tokenizer

MARKS = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SIDE, PATCH, FACTOR = 16, 4, 2
TOKENS = (SIDE // PATCH // FACTOR) ** 2
"""Visual tokens of a page, which is not split."""


def save_foreign(folder: Path, chat_template: str | None = TEMPLATE) -> Path:
    """Write model and processor into a folder."""
    tokenizer = byte_tokenizer(MARKS)
    text = {"model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 3}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": SIDE, "patch_size": PATCH}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = tokenizer.convert_tokens_to_ids("<image>")
        model = Idefics3ForConditionalGeneration(
            Idefics3Config(text_config=text, vision_config=vision, image_token_id=image, scale_factor=FACTOR)
        )
    model.save_pretrained(folder)
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    Idefics3Processor(pictures, tokenizer, image_seq_len=TOKENS, chat_template=chat_template).save_pretrained(folder)
    return folder
