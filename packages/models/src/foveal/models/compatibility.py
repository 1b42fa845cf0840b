"""Check that the parts of a model fit together, before anything is computed."""

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector
from foveal.core import Size
from foveal.encoders import Encoder
from foveal.models.language_models.injection import decoder_layers
from foveal.models.merges.merge import Merge
from foveal.models.prompts.constants import IMAGE_TOKEN_ID
from foveal.models.prompts.processor import Processor
from foveal.models.prompts.templates import PLACEHOLDER
from foveal.models.views.plan import ViewPlan

PROBES = (Size(672, 672), Size(336, 336), Size(1000, 400), Size(400, 1000))
"""Picture sizes that every model must accept."""


def made_connector(connector: Callable[[Any, int], Connector], encoder: Encoder, width: int) -> Connector:
    """Build the connector for the encoder's maps and a language model of the given width.

    Raises:
        ValueError: if no connector can be built for these widths.
    """
    widths = encoder.widths
    try:
        return connector(widths[0] if len(widths) == 1 else widths, width)
    except TypeError as error:
        raise ValueError(
            f"no connector can be built for the widths {widths} and {width} ({error}); put a stage, such as MMFuser or "
            "Pool, in a Chain before the connector"
        ) from error


def check_widths(encoder: Encoder, connector: Connector, width: int) -> None:
    """Refuse a connector whose input width is not the encoder's or whose output width is not the language model's.

    Raises:
        ValueError: naming both.
    """
    if connector.in_widths != encoder.widths:
        raise ValueError(
            f"the encoder returns maps of widths {encoder.widths}, the connector takes {connector.in_widths}"
        )
    if connector.out_width != width:
        raise ValueError(f"the connector makes tokens of width {connector.out_width}, the language model has {width}")
    if connector.prefix_tokens != encoder.prefix_tokens:
        raise ValueError(
            f"the encoder returns {encoder.prefix_tokens} prefix tokens before its grid, the connector expects "
            f"{connector.prefix_tokens}: set keep_class_token and prefix_tokens to agree"
        )


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, language_model: Any) -> None:
    """Refuse a tokenizer with tokens for which the language model has no embeddings.

    `<image>` needs none, because it is never looked up: published folders have it right after the last row.

    Raises:
        ValueError: naming both numbers.
    """
    rows = language_model.get_input_embeddings().weight.shape[0]
    beyond = {token for token, number in tokenizer.get_added_vocab().items() if number >= rows} - {PLACEHOLDER}
    if beyond or tokenizer.vocab_size > rows:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, the language model embeddings for {rows}: they do not belong "
            "together"
        )


def check_context(max_length: int, language_model: Any) -> None:
    """Refuse sequences longer than the language model's context.

    Raises:
        ValueError: naming both numbers.
    """
    context = language_model.config.get_text_config().max_position_embeddings
    if max_length > context:
        raise ValueError(f"max_length is {max_length}, the language model's context {context}: lower max_length")


def check_views(encoder: Encoder, plan: ViewPlan) -> None:
    """Refuse a plan whose sets of views are not of the size that the encoder takes.

    Raises:
        ValueError: naming both numbers.
    """
    if plan.inputs != encoder.inputs:
        raise ValueError(
            f"{type(encoder).__name__} looks at {encoder.inputs} views together, {type(plan).__name__} makes sets of "
            f"{plan.inputs}"
        )


def check_merge(merge: Merge | None, connector: Connector, language_model: Any) -> None:
    """Refuse a number of token levels that the merge does not take, and stacks beyond the language model's last layer.

    Raises:
        ValueError: naming both numbers.
    """
    given, name = connector.levels, type(connector).__name__
    if merge is None:
        if given > 1:
            raise ValueError(
                f"{name} gives {given} levels of tokens and there is no merge: add one whose `levels` is {given}; "
                "it says what enters which decoder layer"
            )
        return
    if merge.levels != given:
        raise ValueError(
            f"levels of tokens: {name} gives {given}, {type(merge).__name__} takes {merge.levels}; the two must agree"
        )
    if merge.layers:
        depth = len(decoder_layers(language_model))
        if max(merge.layers) >= depth:
            raise ValueError(
                f"{type(merge).__name__} adds stacks before layers {merge.layers}, the language model has {depth}: "
                "begin earlier or use fewer stacks"
            )


def check_pictures(processor: Processor) -> None:
    """Refuse parts that cannot process ordinary pictures or that leave no room for text.

    Raises:
        ValueError: giving the size of a picture and the reason.
    """
    counts = []
    for size in PROBES:
        try:
            ids = processor.ids_before(0) + processor.picture_ids(size)
        except ValueError as error:
            raise ValueError(f"the parts do not go together for a picture of {size}: {error}") from error
        if IMAGE_TOKEN_ID not in ids:
            raise ValueError(f"the parts do not go together: a picture of {size} becomes no token")
        counts.append(len(ids))
    if min(counts) >= processor.max_length:
        raise ValueError(
            f"a picture becomes {min(counts)} tokens or more, the longest sequence has {processor.max_length}: raise "
            "max_length or choose a plan or a connector with fewer tokens"
        )
