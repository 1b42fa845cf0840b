"""A tokenizer without a file: one token per byte."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from foveal.models.prompts.tokenize import add_special_tokens

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")


def byte_tokenizer(tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """A tokenizer of 260 tokens: `<unk>`, `<s>`, `</s>`, `<pad>` and the 256 bytes of UTF-8; it is lossless.

    It prepends `<s>`, as LLaMA's tokenizer does.

    Args:
        tokens: further special tokens, with ids from 260 on.

    Raises:
        ValueError: if one of them is empty.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    add_special_tokens(tokens, fast)
    return fast
