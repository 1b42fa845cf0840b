"""A vision-language model: an encoder, a connector and a causal language model."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector, grouped
from foveal.core import Grid, Size, typed_as
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
from foveal.models.language_models.injection import Embedded, stacks_in_place
from foveal.models.language_models.logits import logits_of
from foveal.models.language_models.packed_attention import AttentionKind, use_attention
from foveal.models.language_models.rotary import takes_grid
from foveal.models.merges.merge import Merge, Merged
from foveal.models.nothing import nothing
from foveal.models.prompts.batch import Batch
from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts.processor import Overlong, Processor
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.prompts.token_count import TokenCount, token_grids
from foveal.models.token_loss import TokenLoss
from foveal.models.views.normalise import normalised
from foveal.models.views.plan import ViewPlan


class VisionLanguageModel(nn.Module):
    """Pictures and text in, text out; the choice of parts is the method.

    views -> encoder -> connector -> visual tokens, written over the placeholders of the prompt -> language model
    (LLaVA, arXiv 2304.08485, section 4.1). The length of a sequence never changes: the processor has inserted as many
    placeholders as `plan`, `connector` and `merge` announce, and a mismatch is an error that gives both numbers.

    Args:
        encoder: turns views into feature maps.
        connector: called with the encoder's width (a tuple for several maps) and the language model's width; returns
            the connector.
        language_model: any causal language model of transformers; held and called, never subclassed.
        tokenizer: the language model's tokenizer.
        plan: maps a picture's size to its views and their order.
        merge: called with the language model's width; returns the module that joins the tokens of a picture's views
            into one run, possibly with stacks for decoder layers (AnyRes, DeepStack); None: every view is its own run.
        template: name of the prompt template.
        system: replaces the template's system text; empty: none.
        max_length: longest sequence in tokens, including visual tokens; a longer sample is an error.
        overlong: `drop_turns`: drop the last exchanges of a longer sample instead, see `Processor`.
        attention: attention kernel of the language model, which depends on the machine; None: its current one.

    Raises:
        ValueError: if the parts do not fit together; the message names widths, grids or numbers of tokens.
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
        # Annotated as nn.Module because naming transformers' base class here would import its model code.
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
        count = TokenCount(encoder, self.connector, plan, self.merge)
        self.processor = Processor(
            tokenizer,
            plan,
            count=count,
            grid=count.grid if self.merge is not None and self.merge.on_grid and takes_grid(model.config) else None,
            template=template,
            system=system,
            max_length=max_length,
            overlong=overlong,
        )
        check_pictures(self.processor)

    @property
    def device(self) -> torch.device:
        """The device of the language model's embeddings."""
        return cast(Tensor, self.language_model.get_input_embeddings().weight).device

    def visual_tokens(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Tokens of each view (or set of views seen together): [tokens, width], or [levels, tokens, width].

        Args:
            views: [3, height, width] each, of any sizes; uint8 in 0..255, or float and already normalised.
        """
        # Not bound to a name, so that the pixels are freed before the connector runs.
        return grouped(self.connector, self.encoder.encode_views(normalised(views, self.encoder)), self._grids(views))

    def merged(self, views: Sequence[Tensor], sizes: Sequence[Size]) -> list[Merged]:
        """The input of the language model for each picture (for each view if there is no merge).

        Args:
            views: the views of all pictures, one picture after the other, as for `visual_tokens`.
            sizes: size of each picture; only a merge needs them.

        Raises:
            ValueError: if a merge is not given the sizes, or pictures of these sizes have another number of views.
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

    def embed(
        self,
        input_ids: Tensor,
        views: Sequence[Tensor],
        sizes: Sequence[Size] = (),
        pictures: Sequence[Merged] | None = None,
    ) -> Embedded:
        """Embed a prompt for the language model: rows of the embedding table, with visual tokens at the placeholders.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: the views of all sequences in reading order, [3, height, width] each.
            sizes: sizes of the pictures that the views were cut from; only a merge needs them.
            pictures: what `merged` has made of the views, which are not needed then.

        Raises:
            ValueError: if the numbers of placeholders and visual tokens differ, or as for `merged`.
        """
        placeholders = input_ids == IMAGE_TOKEN_ID
        embedded: Tensor = self.language_model.get_input_embeddings()(input_ids.masked_fill(placeholders, 0))
        expected = int(placeholders.sum())
        if not views and expected == 0:
            # Zeros instead of no gradients: other ranks wait for those of all parts, and a step of texts alone lets an
            # optimizer move parts by their momentum on one device as on several.
            needed = self.training and torch.is_grad_enabled()
            return Embedded(embedded + nothing(self) if needed else embedded, ())
        pictures = self.merged(views, sizes) if pictures is None and views else pictures or []
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
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the next token.

        Args:
            input_ids: [batch, tokens], `IMAGE_TOKEN_ID` at placeholders.
            views: the views of all sequences in reading order, [3, height, width] each.
            attention_mask: [batch, tokens], True at real tokens; None: all are real.
            columns: [positions], the positions from 0 at which logits are computed; None: all.
            sizes: sizes of the pictures that the views were cut from; only a merge needs them.
            position_ids: of rows with several samples or on a grid, see `Batch`; None: counted in `attention_mask`.

        Returns:
            [batch, tokens or positions, vocabulary]; of no meaning at padding, and zero there if rows were split.

        Raises:
            ValueError: as for `embed`, or if the language model cannot keep packed samples apart.
        """
        embedded = self.embed(input_ids, views, sizes)
        return logits_of(self.language_model, embedded, attention_mask, columns, position_ids)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def loss(self, batch: Batch) -> TokenLoss:
        """The summed cross-entropy over the supervised tokens of `batch`.

        Logits are computed only in columns where some sequence is supervised; with a large vocabulary and long prompts
        the logits would otherwise take most of the memory.
        """
        targets = batch.labels[:, 1:]
        supervised = targets != IGNORE_INDEX
        columns = supervised.any(dim=0).nonzero().squeeze(1)
        logits = self(batch.input_ids, batch.views, batch.attention_mask, columns, batch.sizes, batch.position_ids)
        total = F.cross_entropy(
            logits.float().flatten(0, 1), targets[:, columns].flatten(), ignore_index=IGNORE_INDEX, reduction="sum"
        )
        return TokenLoss(total, int(supervised.sum()))

    def _grids(self, views: Sequence[Tensor]) -> list[tuple[Grid, ...]]:
        """The grids of the feature maps of every set of views."""
        inputs, shapes = self.encoder.inputs, [Size.of_view(view) for view in views]
        return [self.encoder.grids(*shapes[start : start + inputs]) for start in range(0, len(shapes), inputs)]
