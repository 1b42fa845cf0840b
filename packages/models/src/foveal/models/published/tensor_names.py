"""The part of a model that a published tensor belongs to: tables of prefixes, and one function that reads them."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

Table = tuple[tuple[str, str, str], ...]
"""(published prefix, part, replacement of the prefix in the part's own names); the first match wins."""

ORIGINAL: Table = (
    ("model.vision_tower.", "encoder", ""),
    ("model.mm_projector.", "connector", ""),
    ("model.image_newline", "merge", "newline"),
    ("model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""LLaVA's own code and its derivatives."""

UHD_V2: Table = (
    ("model.mm_projector.upsampler.upsampler.", "upsampler", ""),
    ("model.mm_projector.upsampler.", "featurizer", ""),
    *ORIGINAL,
)
"""LLaVA-UHD v2's own code."""

LEGACY: Table = (
    ("vision_tower.", "encoder", ""),
    ("multi_modal_projector.", "connector", ""),
    ("image_newline", "merge", "newline"),
    ("language_model.model.", "language_model", "model."),
    ("language_model.lm_head.", "language_model", "lm_head."),
)
"""Files of transformers' LLaVA, as they are published."""

IN_MEMORY: Table = (
    ("model.vision_tower.", "encoder", ""),
    ("model.multi_modal_projector.", "connector", ""),
    ("model.image_newline", "merge", "newline"),
    ("model.language_model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""transformers' LLaVA in memory, and in files since its version 4.52."""

QWEN3_VL: Table = (
    ("model.visual.merger.", "connector", "merger."),
    ("model.visual.deepstack_merger_list.", "connector", "deepstack_merger_list."),
    ("model.visual.", "encoder", ""),
    ("model.language_model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""Qwen3-VL, as it is published and as transformers writes it."""

INTERNVL: Table = (
    ("vision_model.", "encoder", ""),
    ("mlp1.", "connector", ""),
    ("language_model.", "language_model", ""),
)
"""InternVL's own code."""

MINICPM: Table = (
    ("model.vision_tower.", "encoder", ""),
    ("model.merger.", "connector", ""),
    ("model.language_model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""MiniCPM-V 4.6, as it is published and as transformers writes it."""

VARY_TINY: Table = (
    ("model.vision_tower_2.", "encoder", ""),
    ("model.vision_tower.", "encoder", ""),
    ("model.mm_projector.", "connector", ""),
    ("model.decoder.", "language_model", "model.decoder."),
    ("lm_head.", "language_model", "lm_head."),
)

VARY_BASE: Table = (
    ("transformer.vision_tower.", "clip", ""),
    ("transformer.vision_tower_high.", "sam", ""),
    ("transformer.mm_projector.", "connector", "0."),
    ("transformer.mm_projector_vary.", "connector", "1."),
    ("transformer.", "language_model", "transformer."),
    ("lm_head.", "language_model", "lm_head."),
)
"""Vary-base and Vary-toy."""

GOT_ORIGINAL: Table = (
    ("model.vision_tower_high.", "encoder", ""),
    ("model.mm_projector_vary.", "connector", ""),
    ("model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""GOT-OCR 2.0's own code."""

GOT_LIBRARY: Table = (
    ("multi_modal_projector.conv_upsampler", "encoder", "conv_upsampler"),
    ("multi_modal_projector.multimodal_projector.", "connector", ""),
    ("model.multi_modal_projector.conv_upsampler", "encoder", "conv_upsampler"),
    ("model.multi_modal_projector.multimodal_projector.", "connector", ""),
    *(row for row in LEGACY if row[1] != "connector"),
    *(row for row in IN_MEMORY if row[1] != "connector"),
)
"""transformers' GOT-OCR 2.0, in files and in memory; the strided convolutions belong to our tower."""

DEEPSEEK_OCR2: Table = (
    ("model.sam_model.", "flow", "sam_model."),
    ("model.qwen2_model.", "flow", "qwen2_model."),
    ("model.vision_tower.", "flow", "vision_tower."),
    ("model.projector.layers.", "connector", ""),
    ("model.multi_modal_projector.", "connector", ""),
    ("model.view_seperator", "merge", "separator"),
    ("model.view_separator", "merge", "separator"),
    ("model.language_model.", "language_model", "model."),
    ("model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
"""DeepSeek-OCR 2's own code, whose names transformers writes too, and transformers in memory."""

BUFFERS = (
    (re.compile(r".*\.rotary_emb\.inv_freq"), "a buffer that is computed from the configuration"),
    (re.compile(r".*\.attn\.(bias|masked_bias)"), "a causal mask, not a weight"),
)
TOWER_WRAPPERS = ("vision_tower.", "vision_model.")
"""Prefixes that wrappers add around a tower, outermost first."""


@dataclass(frozen=True)
class Names:
    """The tensors of a checkpoint, divided into parts.

    Attributes:
        parts: part -> published name -> name inside the part.
        ignored: published name -> the reason why it is not read.
    """

    parts: dict[str, dict[str, str]] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def of(self, part: str) -> dict[str, str]:
        """published name -> name inside `part`; empty if the checkpoint has no tensors of it."""
        return self.parts.get(part, {})

    def inside(self, part: str, stored: Mapping[str, T]) -> dict[str, T]:
        """What is `stored` of the tensors of `part` (their values or shapes), by their names inside it.

        Args:
            part: the part's name.
            stored: by published names; has all of the part's.
        """
        return {inside: stored[published] for published, inside in self.of(part).items()}

    def ignore(self, part: str, reasons: dict[str, str]) -> None:
        """Remove from `part` the names in `reasons` (name inside the part -> why it is not read)."""
        for published, inside in list(self.of(part).items()):
            if inside in reasons:
                del self.parts[part][published]
                self.ignored[published] = reasons[inside]

    def log_ignored(self, source: str) -> None:
        """Log the names that are not read, with the reasons."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in sorted(self.ignored.items()):
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            logger.info("%s: %d tensors are not read (%s): %s", source, len(names), reason, ", ".join(names))


def of_library(names: Iterable[str]) -> Table:
    """The table of a folder in the layout of transformers' LLaVA: as in files, or as in memory."""
    return LEGACY if any(name.startswith("multi_modal_projector.") for name in names) else IN_MEMORY


def divided(names: Iterable[str], table: Table, *, source: str) -> Names:
    """Assign every name to its part.

    Raises:
        ValueError: for names that belong to no part; the message names `source`.
    """
    found, unknown = Names(), []
    for name in names:
        reason = next((reason for pattern, reason in BUFFERS if pattern.fullmatch(name)), None)
        if reason is not None:
            found.ignored[name] = reason
            continue
        row = next((row for row in table if name.startswith(row[0])), None)
        if row is None:
            unknown.append(name)
            continue
        prefix, part, instead = row
        inside = instead + name.removeprefix(prefix)
        if part in ("encoder", "clip"):
            for wrapper in TOWER_WRAPPERS:
                inside = inside.removeprefix(wrapper)
        of_part = found.parts.setdefault(part, {})
        if twin := next((other for other, place in of_part.items() if place == inside), None):
            raise ValueError(f"{source}: {twin} and {name} are the same tensor of the {part.replace('_', ' ')}")
        of_part[name] = inside
    if unknown:
        raise ValueError(f"{source}: {len(unknown)} tensors belong to no part, among them {sorted(unknown)[:5]}")
    return found
