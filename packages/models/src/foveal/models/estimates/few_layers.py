"""A decoder of many equal layers judged by a few of them: what each layer adds is the same, and is measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from foveal.models.language_models.injection import decoder_layers
from foveal.models.model import VisionLanguageModel

RUN = 5
"""Layers that are run: the first, the last, and three in between whose differences must agree."""


@contextmanager
def few_layers(model: VisionLanguageModel) -> Iterator[int]:
    """Leave only `RUN` layers in the decoder for a while, if all are equal; gives how many are left out.

    Args:
        model: on the meta device.
    """
    layers = decoder_layers(model.language_model)
    whole = list(layers)
    if len(whole) <= RUN or len({_described(layer) for layer in whole}) > 1:
        yield 0
        return
    del layers[RUN:]
    try:
        yield len(whole) - RUN
    finally:
        layers.extend(whole[RUN:])


def _described(layer: nn.Module) -> tuple[object, ...]:
    """All of a layer that its memory depends on."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    shapes = [(name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors]
    settings = [getattr(layer, name, None) for name in ("attention_type", "gradient_checkpointing", "training")]
    return (str(layer), *shapes, *settings)


class UnequalLayersError(Exception):
    """Layers look equal and do not take equal memory: all of them must be run."""


class Phases:
    """The most memory in each stretch of a run, from one decoder layer to the next, forwards and backwards.

    Every stretch of a model with more layers is one of these, higher by what each further layer keeps; so the most
    memory there is, is that of a stretch at one of the ends.

    Args:
        now: gives the bytes that are alive.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._peaks: dict[str, int] = {}
        self._backwards = False
        self.begin("before")

    def begin(self, name: str) -> None:
        """A stretch begins, and ends the one before."""
        self._current = name
        self.see(self._now())

    def begin_backwards(self) -> None:
        """The forward pass is over; layers that run once more belong to their stretch of the backward pass."""
        self._backwards = True
        self.begin("backwards")

    def see(self, alive: int) -> None:
        """So many bytes are alive."""
        self._peaks[self._current] = max(alive, self._peaks.get(self._current, 0))

    @contextmanager
    def of(self, layers: nn.ModuleList) -> Iterator[None]:
        """Within, running the layers begins stretches."""
        hooks = [
            layer.register_forward_pre_hook(self._entering(number), with_kwargs=True)
            for number, layer in enumerate(layers)
        ]
        hooks.append(layers[-1].register_forward_hook(lambda *passed: self._left(passed[-1], len(layers))))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def peak(self, left_out: int) -> int:
        """The most bytes, had there been so many layers more in the middle.

        Raises:
            UnequalLayersError: if the layers that were run differ.
        """
        if not left_out:
            return max(self._peaks.values())
        further = {"forward": self._step("forward") * left_out, "backward": self._step("backward") * left_out}
        last = RUN - 1
        higher = {
            f"forward {last}": further["forward"],
            "after": further["forward"],
            "backwards": further["backward"],
            f"backward {last}": further["backward"],
        }
        return max(peak + higher.get(name, 0) for name, peak in self._peaks.items())

    def _step(self, direction: str) -> int:
        """What a layer adds to the stretch of the next one."""
        peaks = [self._peaks.get(f"{direction} {number}", 0) for number in range(1, RUN - 1)]
        steps = {after - before for before, after in pairwise(peaks)}
        if len(steps) > 1:
            raise UnequalLayersError
        return steps.pop()

    def _entering(self, number: int) -> Callable[..., None]:
        def enter(_: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
            if not self._backwards:
                self._left(arguments[0] if arguments else options["hidden_states"], number)
                self.begin(f"forward {number}")

        return enter

    def _left(self, hidden: Any, number: int) -> None:
        """`hidden` enters the layer of that number; its gradient ends that layer's stretch of the backward pass."""
        if self._backwards:
            return
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        self.begin("after")
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda _: self.begin(f"backward {number - 1}" if number else "last"))
