"""The description of a published checkpoint's model, before any weight is read."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector
from foveal.core import Rename
from foveal.encoders import Encoder
from foveal.models.merges.merge import Merge
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.published.projectors import read_projector
from foveal.models.published.tensor_names import Names
from foveal.models.views.plan import ViewPlan

Gather = Callable[[Iterable[tuple[str, Tensor]]], Iterator[tuple[str, Tensor]]]
IMAGE_ID_FIELDS = ("image_token_id", "image_token_index")
"""Fields in which transformers' `config.json` has the id of the token that stands for a picture."""

Prompt = tuple[TemplateName, str | None]
"""A template, and the system text that replaces its own; None: its own."""


def unchanged(tensors: Mapping[str, Tensor], source: str = "") -> dict[str, Tensor]:
    """The tensors as they are, for a part whose published names are the same as here."""
    return dict(tensors)


class Convert(Protocol):
    """Maps tensors under a part's published names to the module's names; errors name `source`."""

    def __call__(self, tensors: Mapping[str, Tensor], /, *, source: str) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Reading:
    """How one part gets its weights.

    Attributes:
        part: the part's name in `Names`.
        module: the module to fill.
        convert: maps tensors under the part's published names to the module's names.
    """

    part: str
    module: nn.Module
    convert: Convert


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A model without its tokenizer, whose parts are on the meta device unless they already have weights.

    Attributes:
        family: transformers' `model_type` of the language model.
        language_model: the language model's configuration.
        rename: maps the language model's published tensors to its own names.
        gather: joins tensors in a stream that are one in the language model, such as the experts of a layer.
        encoder: on the meta device, or with the weights of the encoder that the checkpoint names.
        connector: on the meta device.
        merge: on the meta device; None: there is no merge.
        readings: how encoder, connector and merge are filled.
        names: which tensors belong to which part.
        plan: the view plan that the model was trained with.
        prompt: template and system text, or a function of the tokenizer that gives them; None: those of the language
            model's family.
        tokens: special tokens of the prompts that were trained with the ids of the published tokenizer.
        added_tokens: special tokens that the makers' code adds, with the next ids, if the tokenizer lacks them.
        token_fields: field of `config.json` with a token's id -> the token.
        max_length: longest sequence, in tokens.
    """

    family: str
    language_model: Any
    rename: Rename = unchanged
    gather: Gather = iter
    encoder: Encoder
    connector: Connector
    merge: Merge | None = None
    readings: tuple[Reading, ...]
    names: Names
    plan: ViewPlan
    prompt: Prompt | Callable[[PreTrainedTokenizerBase], Prompt] | None = None
    tokens: tuple[str, ...] = ()
    added_tokens: tuple[str, ...] = ()
    token_fields: Mapping[str, str] = field(default_factory=dict)
    max_length: int


def of_merge(merge: Merge | None) -> Reading:
    """The reading of a merge; without one, a newline in the checkpoint is refused."""
    return Reading("merge", nn.Module() if merge is None else merge, unchanged)


def of_connector(connector: Connector) -> Reading:
    """The reading of a projector."""
    return Reading("connector", connector, read_projector)


def check_described(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse a `config.json` without `text_config` or `vision_config`, as transformers writes them.

    Raises:
        ValueError: if one of them is missing.
    """
    if not isinstance(config.get("text_config"), dict) or not isinstance(config.get("vision_config"), dict):
        raise ValueError(f"{source}: config.json describes no language model (text_config) or tower (vision_config)")


def check_known(config: Mapping[str, Any], known: Mapping[str, Any], *, source: str) -> None:
    """Refuse settings that would give other numbers than those that are known.

    Args:
        config: the folder's `config.json`; what it lacks is as known.
        known: a setting -> its only known value.
        source: named in the error.

    Raises:
        ValueError: naming the setting and both values.
    """
    for setting, value in known.items():
        if config.get(setting, value) != value:
            raise ValueError(f"{source}: {setting} is {config[setting]!r}, only {value!r} can be read")


def refuse_encoder(encoder: str | None, *, source: str) -> None:
    """Refuse a tower from elsewhere for a layout that always contains its own, sizes and weights.

    Raises:
        ValueError: if one is given.
    """
    if encoder is not None:
        raise ValueError(f"{source} has its own image tower: it cannot be opened with another one ({encoder})")
