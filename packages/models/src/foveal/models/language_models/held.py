"""A text model of transformers that has no causal language model of its own: held, with an output layer."""

from typing import Any, Self

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from foveal.models.language_models.causal import HELD


class HeldLanguageModel(PreTrainedModel, GenerationMixin):
    """A text model and an output layer, called and stored like any causal language model of transformers.

    transformers has some text models only as parts of their vision-language models. Tensors are named `model.` and
    `lm_head.`, as in its other causal language models; a folder's `config.json` is the text model's own.

    Args:
        config: transformers' configuration of the text model, one of `HELD`; `tie_word_embeddings` says whether the
            output layer is the embedding table.
    """

    config: PreTrainedConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = getattr(transformers, HELD[config.model_type])(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_config(cls, config: Any, *, dtype: torch.dtype | None = None, trust_remote_code: bool = False) -> Self:
        """A model with new weights; the same call as for transformers' own classes, which may run no code either."""
        assert not trust_remote_code
        model: Self = cls._from_config(config, dtype=dtype)
        return model

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
    ) -> CausalLMOutputWithPast:
        """Logits of the next token.

        Args:
            input_ids: [batch, tokens]; or `inputs_embeds`.
            attention_mask: [batch, tokens], or a finished mask.
            position_ids: as the text model takes them; None: counted.
            past_key_values: keys and values of the tokens before.
            inputs_embeds: [batch, tokens, width].
            use_cache: whether keys and values are returned.
            logits_to_keep: number of last positions that logits are computed for, 0: all; or the positions [positions].

        Returns:
            `logits` [batch, tokens or positions, vocabulary], and the cache.
        """
        read = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(read.last_hidden_state[:, kept])
        return CausalLMOutputWithPast(logits=logits, past_key_values=read.past_key_values)
