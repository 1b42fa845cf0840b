"""The cost of a model before it has weights: tokens, parameters and FLOPs, from shapes alone."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foveal.core import Size
from foveal.models.estimates.experts_by_shape import experts_by_shape
from foveal.models.merges.merge import Merged
from foveal.models.model import VisionLanguageModel
from foveal.models.views.normalise import normalised


@dataclass(frozen=True)
class Parts:
    """A number for each part of a model."""

    encoder: int
    connector: int
    language_model: int

    @property
    def total(self) -> int:
        """The sum over all parts."""
        return self.encoder + self.connector + self.language_model


@dataclass(frozen=True)
class Cost:
    """The cost of one prompt.

    Attributes:
        views: number of views that the encoder sees.
        visual: visual tokens in the sequence.
        marks: text tokens that the method puts between or around visual tokens.
        stacked: visual tokens that are added to hidden states instead.
        parameters: all parameters, including frozen ones; the merge's are counted with the connector.
        flops: FLOPs of one prefill, up to the logits of the last token: two for each multiply-add of the matrix
            products and convolutions that are executed (SAM's relative positions are part of the product and widen its
            heads). Elementwise operations, interpolation and the sampling of deformable attention are not counted.
    """

    views: int
    visual: int
    marks: int
    stacked: int
    parameters: Parts
    flops: Parts


def cost(model: VisionLanguageModel, pictures: Sequence[Size], *, text: int) -> Cost:
    """The cost of a prompt with pictures and `text` tokens of text.

    Args:
        model: on the meta device; it is not changed.
        pictures: size of each picture.
        text: number of text tokens.

    Raises:
        ValueError: if the model cannot process such pictures.
    """
    pictures = model.processor.plan.in_company(pictures)
    _, marks = prompt_tokens(model, pictures)
    found: list[Merged] = []
    with pretended(model) as copy:
        copy.requires_grad_(False)  # the counter's hooks do not accept a part of a weight that learns
        views = views_of(copy, pictures)
        pixels = normalised(views, copy.encoder)
        of_encoder = flops(lambda: copy.encoder.encode_views(pixels))
        of_both = flops(lambda: found.extend(copy.merged(views, pictures)))
    visual = sum(len(each.tokens) for each in found)
    return Cost(
        views=len(views),
        visual=visual,
        marks=marks,
        stacked=sum(len(stack) for each in found for stack in each.stacks),
        parameters=parameters(model),
        flops=Parts(of_encoder, of_both - of_encoder, prefill(model.language_model, visual + marks + text)),
    )


def parameters(model: VisionLanguageModel) -> Parts:
    """The parameters of every part; blocks that a method never runs are not built."""
    everything, encoder, language_model = (
        sum(weight.numel() for weight in part.parameters()) for part in (model, model.encoder, model.language_model)
    )
    return Parts(encoder, everything - encoder - language_model, language_model)


def prompt_tokens(model: VisionLanguageModel, pictures: Sequence[Size]) -> tuple[int, int]:
    """Visual tokens of all pictures of a prompt, and text tokens that the method puts between or around them.

    Raises:
        ValueError: if the model cannot process such a picture.
    """
    sizes = model.processor.plan.in_company(pictures)
    items = [item for size in sizes for item in model.processor.count(size)]
    before = sum(len(model.processor.ids_before(number)) for number in range(len(pictures)))
    return sum(item for item in items if isinstance(item, int)), before + sum(isinstance(item, str) for item in items)


def prefill(language_model: nn.Module, tokens: int) -> int:
    """FLOPs of a language model on the meta device for reading `tokens` tokens and the logits of the last one."""
    model: Any = language_model
    embedded = torch.empty(1, tokens, model.config.hidden_size, device="meta")
    # Without a cache transformers would look for packed sequences in the positions' values, which do not exist here.
    with experts_by_shape(model):
        return flops(lambda: model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1))


def flops(run: Callable[[], object]) -> int:
    """FLOPs of `run`; fused attention is decomposed, because the counter does not support it on every device."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run()
    return int(counter.get_total_flops())


def picture_size(text: str) -> Size:
    """Parse `1000x3000` as a size.

    Raises:
        argparse.ArgumentTypeError: if the text has another form.
    """
    numbers = text.split("x")
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 1000x3000")
    return Size(int(numbers[0]), int(numbers[1]))


def copied(model: VisionLanguageModel) -> VisionLanguageModel:
    """A copy of `model`, which is on the meta device, with the same processor."""
    return deepcopy(model, {id(model.processor): model.processor})


@contextmanager
def pretended(model: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
    """Context with a copy of `model` whose tensors have shapes but no data and behave as if they were on the CPU.

    The meta device itself does not support autocast, and attention there uses the kernel that keeps the whole table of
    weights.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        instead: dict[int, Any] = {id(model.processor): model.processor}
        for tensor in (*model.parameters(), *model.buffers()):
            empty = torch.empty_like(tensor, device="cpu")
            learns = tensor.requires_grad
            instead[id(tensor)] = nn.Parameter(empty, learns) if isinstance(tensor, nn.Parameter) else empty
        copy = deepcopy(model, instead)
        with experts_by_shape(copy):
            yield copy


def views_of(model: VisionLanguageModel, pictures: Sequence[Size]) -> list[Tensor]:
    """The views of pictures of these sizes as the processor makes them, [3, height, width] each, uint8.

    Args:
        model: its plan cuts the pictures.
        pictures: as the plan's `in_company` returns them, for each prompt.
    """
    sizes = [size for picture in pictures for size in model.processor.plan.views(picture)]
    return [torch.empty(3, size.height, size.width, dtype=torch.uint8) for size in sizes]
