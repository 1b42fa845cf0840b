"""An encoder, a connector and a causal language model, put together."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector, grouped
from foveal.core import Grid, Size
from foveal.encoders import Encoder
from foveal.models.compatibility import (
    check_context,
    check_merge,
    check_pictures,
    check_views,
    check_vocabulary,
    check_widths,
    made_connector,
)
from foveal.models.language_models.injection import Embedded, injected, stacks_in_place
from foveal.models.language_models.needed_columns import last_mlp_at
from foveal.models.language_models.packed_attention import AttentionKind, use_attention
from foveal.models.merges.merge import Merge, Merged
from foveal.models.prompts.batch import Batch, position_ids
from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts.processor import Overlong, Processor
from foveal.models.prompts.templates import TemplateName
from foveal.models.prompts.token_count import TokenCount, token_grids
from foveal.models.token_loss import TokenLoss
from foveal.models.views.normalise import normalised
from foveal.models.views.plan import ViewPlan


class VisionLanguageModel(nn.Module):
    """Pictures and text in, text out; the method lies in which parts are passed.

    views -> encoder -> connector -> visual tokens, written over the placeholders of the prompt -> language model
    (LLaVA, arXiv 2304.08485, section 4.1). The length of a sequence never changes on its way: the processor has put as
    many placeholders as `plan`, `connector` and `merge` promise, and a disagreement is an error with both numbers.

    Args:
        encoder: turns views into feature maps.
        connector: called with the encoder's width (of several maps a tuple) and the language model's, gives the
            connector.
        language_model: any causal language model of transformers; held and called, never subclassed.
        tokenizer: the language model's tokenizer.
        plan: from a picture's size to its views and their order.
        merge: called with the language model's width, makes one run of the tokens of all views of a picture, and
            perhaps stacks for decoder layers (AnyRes, DeepStack); None: every view is a run of its own.
        template: name of the prompt template.
        system: instead of the template's system text; empty: none.
        max_length: longest sequence in tokens, visual ones included; a longer sample is an error.
        overlong: `drop_turns`: leave out last exchanges of a longer sample instead, see `Processor`.
        attention: kernel of the language model, a choice of the machine; None: as the language model has it.

    Raises:
        ValueError: if the parts do not go together; the reason names widths, grids or numbers of tokens.
    """

    def __init__(
        self,
        encoder: Encoder,
        connector: Callable[[Any, int], Connector],
        language_model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        plan: ViewPlan,
        *,
        merge: Callable[[int], Merge] | None = None,
        template: TemplateName = "vicuna_v1",
        system: str | None = None,
        max_length: int = 2048,
        overlong: Overlong = "raise",
        attention: AttentionKind | None = None,
    ) -> None:
        super().__init__()
        # The declared type is nn.Module because naming transformers' base class here would import its model code.
        model: Any = language_model
        width = model.get_input_embeddings().weight.shape[1]
        self.encoder = encoder
        self.connector = made_connector(connector, encoder, width)
        self.merge = None if merge is None else merge(width)
        self.language_model = model
        use_attention(model, attention)
        check_widths(encoder, self.connector, width)
        check_merge(self.merge, self.connector, model)
        check_vocabulary(tokenizer, model)
        check_context(max_length, model)
        check_views(encoder, plan)
        self.processor = Processor(
            tokenizer,
            plan,
            count=TokenCount(encoder, self.connector, plan, self.merge),
            template=template,
            system=system,
            max_length=max_length,
            overlong=overlong,
        )
        check_pictures(self.processor)

    @property
    def device(self) -> torch.device:
        """Where the language model's embeddings are."""
        weight: Tensor = self.language_model.get_input_embeddings().weight
        return weight.device

    def visual_tokens(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Per view (or set of views seen together) [tokens, width]; of several levels [levels, tokens, width].

        Args:
            views: [3, height, width] each, of any sizes; uint8 in 0..255, or float and already normalised.
        """
        # Not named, so that the pixels are gone when the connector begins.
        return grouped(self.connector, self.encoder.encode_views(normalised(views, self.encoder)), self._grids(views))

    def merged(self, views: Sequence[Tensor], sizes: Sequence[Size]) -> list[Merged]:
        """Per picture (without a merge: per view) what goes into the language model.

        Args:
            views: those of all pictures, one picture after the other, as for `visual_tokens`.
            sizes: of each picture; only a merge needs them.

        Raises:
            ValueError: if a merge is not given sizes, or pictures of such sizes have another number of views.
        """
        tokens = self.visual_tokens(views)
        if self.merge is None:
            return [Merged(each) for each in tokens]
        plan, planes = self.processor.plan, token_grids(self.connector, self._grids(views))
        numbers = [len(plan.views(size)) // plan.inputs for size in sizes]
        if sum(numbers) != len(tokens):
            named = ", ".join(map(str, sizes))
            raise ValueError(
                f"{len(sizes)} pictures of sizes [{named}] have {sum(numbers)} sets of views, {len(tokens)} were "
                "given: pass the sizes of the pictures, as the processor's batch has them"
            )
        pictures, start = [], 0
        for number, size in zip(numbers, sizes, strict=True):
            own = slice(start, start + number)
            pictures.append(self.merge(tokens[own], planes[own], plan.tile_grid(size), size))
            start += number
        return pictures

    def embed(self, input_ids: Tensor, views: Sequence[Tensor], sizes: Sequence[Size] = ()) -> Embedded:
        """A prompt for the language model: rows of the embedding table, visual tokens at the placeholders.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: those of all sequences in reading order, [3, height, width] each.
            sizes: of the pictures that they were cut from; only a merge needs them.

        Raises:
            ValueError: if the number of placeholders is not the number of visual tokens, or as `merged`.
        """
        placeholders = input_ids == IMAGE_TOKEN_ID
        embedded: Tensor = self.language_model.get_input_embeddings()(input_ids.masked_fill(placeholders, 0))
        expected = int(placeholders.sum())
        if not views and expected == 0:
            # A text alone has no gradient where only the parts for pictures are trained.
            needed = self._must_run_everything() or (self.training and not embedded.requires_grad)
            return Embedded(embedded + self._nothing() if needed else embedded, ())
        pictures = self.merged(views, sizes) if views else []
        tokens = torch.cat(
            [embedded.new_zeros(0, embedded.shape[-1])] + [each.tokens.to(embedded) for each in pictures]
        )
        if len(tokens) != expected:
            raise ValueError(
                f"{len(views)} views gave {len(tokens)} visual tokens, the prompt has {expected} placeholders: "
                "the batch was made by a processor with another plan or connector"
            )
        return Embedded(
            embedded.masked_scatter(placeholders[..., None], tokens),
            stacks_in_place(self.merge, pictures, placeholders),
        )

    def forward(
        self,
        input_ids: Tensor,
        views: Sequence[Tensor] = (),
        attention_mask: Tensor | None = None,
        columns: Tensor | None = None,
        sizes: Sequence[Size] = (),
    ) -> Tensor:
        """Logits of the next token.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: those of all sequences in reading order, [3, height, width] each.
            attention_mask: [batch, tokens], True at real tokens; None: all are.
            columns: positions at which logits are wanted, [positions]; None: everywhere.
            sizes: of the pictures that the views were cut from; only a merge needs them.

        Returns:
            [batch, tokens or positions, vocabulary]
        """
        embedded = self.embed(input_ids, views, sizes)
        stacks = injected(self.language_model, embedded.stacks, len(input_ids))
        with stacks, last_mlp_at(self.language_model, columns):
            output = self.language_model(
                inputs_embeds=embedded.embeddings,
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
        logits = self(batch.input_ids, batch.views, batch.attention_mask, columns, batch.sizes)
        total = F.cross_entropy(
            logits.float().flatten(0, 1), targets[:, columns].flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        return TokenLoss(total, int(supervised.sum()))

    def _grids(self, views: Sequence[Tensor]) -> list[tuple[Grid, ...]]:
        """Of every set of views the grids of its maps."""
        inputs, shapes = self.encoder.inputs, [Size.of_view(view) for view in views]
        return [self.encoder.grids(*shapes[start : start + inputs]) for start in range(0, len(shapes), inputs)]

    def _must_run_everything(self) -> bool:
        """Whether other ranks wait for gradients of parts that a batch without pictures would not touch."""
        return self.training and torch.distributed.is_available() and torch.distributed.is_initialized()

    def _nothing(self) -> Tensor:
        """Zero, by way of the encoder, the connector and the merge."""
        size = Size(1, 1)
        blank = [torch.zeros(3, one.height, one.width, device=self.device) for one in self.processor.plan.views(size)]
        # Each times 0 before the sum, which could leave the range of half precision.
        parts = [(0.0 * part).sum() for each in self.merged(blank, [size]) for part in (each.tokens, *each.stacks)]
        return torch.stack(parts).sum()
