"""Tiny folders of MiniCPM-V 4.6, written by transformers' own classes."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "image_start_token": "<image>",
    "image_end_token": "</image>",
    "slice_start_token": "<slice>",
    "slice_end_token": "</slice>",
    "image_id_start_token": "<image_id>",
    "image_id_end_token": "</image_id>",
}
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{% if not loop.first %}{{ '\n' }}"
    "{% endif %}{{ '<|image_pad|>' if part.type == 'image' else part.text }}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""As the published template: parts of a message on lines of their own; no reasoning, as the last answer says."""
PICTURES = {"scale_resolution": 64, "patch_size": 8, "max_slice_nums": 4}
TEXT = {
    "model_type": "qwen3_5_text",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 72,
    "patch_size": 8,
}


def tokenizer():
    """One token per byte, as in Qwen3.5's tokenizer before its merges, and the family's special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=TOKENS,
        chat_template=CHAT,
    )
    made.add_tokens([AddedToken(token, special=True, normalized=False) for token in ("<|im_start|>", *TOKENS.values())])
    return made


class Reference:
    """transformers' model and processor of one folder."""

    def __init__(self, folder, *, pictures=None, text=None, **config):
        from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration
        from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
        from transformers.models.minicpmv4_6.processing_minicpmv4_6 import MiniCPMV4_6Processor
        from transformers.models.minicpmv4_6.video_processing_minicpmv4_6 import MiniCPMV4_6VideoProcessor

        made = tokenizer()
        self.placeholder = made.convert_tokens_to_ids("<|image_pad|>")
        torch.manual_seed(0)
        self.model = MiniCPMV4_6ForConditionalGeneration(
            MiniCPMV4_6Config(
                text_config=TEXT | {"vocab_size": len(made) + 5} | (text or {}),
                vision_config=VISION,
                image_token_id=self.placeholder,
                video_token_id=made.convert_tokens_to_ids("<|video_pad|>"),
                **{"insert_layer_id": 1} | config,
            )
        ).eval()
        for weight in self.model.parameters():
            weight.data.add_(0.05 * torch.randn_like(weight))
        self.model.save_pretrained(folder)
        chosen = PICTURES | (pictures or {})
        self.processor = MiniCPMV4_6Processor(
            MiniCPMV4_6ImageProcessorPil(**chosen), MiniCPMV4_6VideoProcessor(**chosen), made, chat_template=CHAT
        )
        self.processor.save_pretrained(folder)
        self.folder = folder

    def inputs(self, pictures, question):
        parts = [*[{"type": "image"}] * len(pictures), {"type": "text", "text": question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True, tokenize=False
        )
        return self.processor(images=pictures or None, text=[text], return_tensors="pt")

    def greedy(self, pictures, question, number):
        inputs = self.inputs(pictures, question)
        ids = self.model.generate(**inputs, max_new_tokens=number, do_sample=False, pad_token_id=0)
        return ids[0, inputs["input_ids"].shape[1] :].tolist()
