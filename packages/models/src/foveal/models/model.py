"""An encoder, a connector and a causal language model, put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector, grouped
from foveal.core import group_by
from foveal.encoders import Encoder
from foveal.models.batch import Batch
from foveal.models.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.count import TokenCount
from foveal.models.processor import Processor
from foveal.models.prompts import TemplateName
from foveal.models.views import ViewPlan


@dataclass(frozen=True)
class TokenLoss:
    """The summed cross-entropy of a batch and how many tokens it was summed over.

    Kept apart because the mean that matters is the one of the whole optimizer step, over all of its batches and ranks.
    """

    total: Tensor
    tokens: int


class VisionLanguageModel(nn.Module):
    """Pictures and text in, text out; the method lies in which parts are passed.

    views -> encoder -> connector -> visual tokens, written over the placeholders of the prompt -> language model
    (LLaVA, arXiv 2304.08485, section 4.1). The length of a sequence never changes on its way: the processor has put as
    many placeholders as `plan` and `connector` promise, and a disagreement is an error with both numbers.

    Args:
        encoder: turns views into feature maps.
        connector: called with the encoder's width and the language model's width, gives the connector.
        language_model: any causal language model of transformers; held and called, never subclassed.
        tokenizer: the language model's tokenizer.
        plan: from a picture's size to its views and their order.
        template: name of the prompt template.
        system: instead of the template's system text; empty: none.
        max_length: longest sequence in tokens, visual ones included; a longer sample is an error.
        overlong: `drop_turns`: leave out last exchanges of a longer sample instead, see `Processor`.

    Raises:
        ValueError: if connector and encoder disagree about the class token, or the tokenizer has more tokens than the
            language model has embeddings.
    """

    def __init__(
        self,
        encoder: Encoder,
        connector: Callable[[int, int], Connector],
        language_model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        plan: ViewPlan,
        *,
        template: TemplateName = "vicuna_v1",
        system: str | None = None,
        max_length: int = 2048,
        overlong: Literal["raise", "drop_turns"] = "raise",
    ) -> None:
        super().__init__()
        # The declared type is nn.Module because naming transformers' base class here would import its model code.
        model: Any = language_model
        if len(encoder.widths) != 1:
            raise ValueError(
                f"the connector takes one feature map, the encoder returns {len(encoder.widths)}: ask it for one layer"
            )
        embeddings = model.get_input_embeddings().weight
        self.encoder = encoder
        self.connector = connector(encoder.widths[0], embeddings.shape[1])
        self.language_model = model
        if self.connector.prefix_tokens != encoder.prefix_tokens:
            raise ValueError(
                f"the encoder returns {encoder.prefix_tokens} prefix tokens before its grid, the connector expects "
                f"{self.connector.prefix_tokens}: set keep_class_token and prefix_tokens to agree"
            )
        if len(tokenizer) > embeddings.shape[0]:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens, the language model embeddings for {embeddings.shape[0]}: "
                "they do not belong together"
            )
        self.processor = Processor(
            tokenizer,
            plan,
            count=TokenCount(encoder, self.connector),
            template=template,
            system=system,
            max_length=max_length,
            overlong=overlong,
        )

    @property
    def device(self) -> torch.device:
        """Where the connector is; pixels are normalised there."""
        return next(self.connector.parameters()).device

    def visual_tokens(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Per view its tokens [tokens, language model's width].

        Args:
            views: [3, height, width] each, of any sizes; uint8 in 0..255, or float and already normalised.
        """
        pixels = self._normalised(views)
        grids = [(self.encoder.grid(view.shape[-2], view.shape[-1]),) for view in pixels]
        return grouped(self.connector, self.encoder.encode_views(pixels), grids)

    def embed(self, input_ids: Tensor, views: Sequence[Tensor]) -> Tensor:
        """Embeddings of a prompt: rows of the embedding table, visual tokens at the placeholders.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: those of all sequences in reading order, [3, height, width] each.

        Returns:
            [batch, tokens, width]

        Raises:
            ValueError: if the number of placeholders is not the number of visual tokens.
        """
        placeholders = input_ids == IMAGE_TOKEN_ID
        embedded: Tensor = self.language_model.get_input_embeddings()(input_ids.masked_fill(placeholders, 0))
        expected = int(placeholders.sum())
        if views:
            tokens = torch.cat(self.visual_tokens(views)).to(embedded)
        elif expected == 0:
            return embedded + self._nothing() if self._must_run_everything() else embedded
        else:
            tokens = embedded.new_zeros(0, embedded.shape[-1])
        if len(tokens) != expected:
            raise ValueError(
                f"{len(views)} views gave {len(tokens)} visual tokens, the prompt has {expected} placeholders: "
                "the batch was made by a processor with another plan or connector"
            )
        return embedded.masked_scatter(placeholders[..., None], tokens)

    def forward(
        self,
        input_ids: Tensor,
        views: Sequence[Tensor] = (),
        attention_mask: Tensor | None = None,
        columns: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: those of all sequences in reading order, [3, height, width] each.
            attention_mask: [batch, tokens], True at real tokens; None: all are.
            columns: positions at which logits are wanted, [positions]; None: everywhere.

        Returns:
            [batch, tokens or positions, vocabulary]
        """
        output = self.language_model(
            inputs_embeds=self.embed(input_ids, views),
            attention_mask=attention_mask,
            position_ids=position_ids(attention_mask),
            use_cache=False,
            logits_to_keep=0 if columns is None else columns,
        )
        logits: Tensor = output.logits
        return logits

    def loss(self, batch: Batch) -> TokenLoss:
        """The summed cross-entropy over the supervised tokens of `batch`.

        Logits are computed only in columns where some sequence is supervised: with a large vocabulary and long prompts
        that is most of the memory.
        """
        targets = batch.labels[:, 1:]
        supervised = targets != IGNORE_INDEX
        columns = supervised.any(dim=0).nonzero().squeeze(1)
        logits = self(batch.input_ids, batch.views, batch.attention_mask, columns)
        total = F.cross_entropy(
            logits.float().flatten(0, 1), targets[:, columns].flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        return TokenLoss(total, int(supervised.sum()))

    def _normalised(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Views as the encoder wants them; equal shapes are worked on together."""
        weight = next(self.encoder.parameters())
        mean = torch.tensor(self.encoder.image_mean, device=weight.device)[:, None, None]
        std = torch.tensor(self.encoder.image_std, device=weight.device)[:, None, None]
        ready: list[Tensor] = list(views)
        for indices in group_by((view.shape, view.dtype) for view in views).values():
            pixels = torch.stack([views[index] for index in indices]).to(weight.device)
            if not pixels.is_floating_point():
                pixels = (pixels / 255 - mean) / std
            for index, view in zip(indices, pixels.to(weight.dtype), strict=True):
                ready[index] = view
        return ready

    def _must_run_everything(self) -> bool:
        """Whether other ranks wait for gradients of parts that a batch without pictures would not touch."""
        return self.training and torch.distributed.is_available() and torch.distributed.is_initialized()

    def _nothing(self) -> Tensor:
        """Zero, by way of the encoder and the connector."""
        (height, width), *_ = self.processor.plan.views(1, 1)
        blank = torch.zeros(3, height, width, device=self.device)
        return 0.0 * torch.cat(self.visual_tokens([blank])).sum()


def position_ids(attention_mask: Tensor | None) -> Tensor | None:
    """0, 1, 2 ... over the real tokens of every row, so that padding on either side changes nothing.

    Args:
        attention_mask: [batch, tokens], True at real tokens.
    """
    return None if attention_mask is None else (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)
