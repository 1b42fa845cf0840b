"""Estimate the memory of a decoder of identical layers from a few of them: every layer adds the same amount."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from foveal.models.language_models.injection import decoder_layers
from foveal.models.model import VisionLanguageModel

RUN = 5
"""Number of layers that are run: the first, the last, and three in between whose differences must agree."""


@contextmanager
def few_layers(model: VisionLanguageModel) -> Iterator[int]:
    """Keep only `RUN` layers of the decoder in this context, if all are equal; yield the number left out.

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
    """Everything in a layer that its memory depends on."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    shapes = [(name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors]
    settings = [getattr(layer, name, None) for name in ("attention_type", "gradient_checkpointing", "training")]
    return (str(layer), *shapes, *settings)


class UnequalLayersError(Exception):
    """The layers look equal but do not need equal memory, so all of them must be run."""


class Phases:
    """Peak memory in each phase of a run; a phase lasts from one decoder layer to the next, forward or backward.

    A model with more layers has the same phases, each higher by the memory that the further layers keep. So its peak is
    in a phase at one of the two ends.

    Args:
        now: returns the number of live bytes.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._peaks: dict[str, int] = {}
        self._backwards = False
        self.begin("before")

    def begin(self, name: str) -> None:
        """Start a phase, which ends the previous one."""
        self._current = name
        self.see(self._now())

    def begin_backwards(self) -> None:
        """Start the backward pass; layers that are recomputed belong to their phase of the backward pass."""
        self._backwards = True
        self.begin("backwards")

    def see(self, alive: int) -> None:
        """Record a number of live bytes in the current phase."""
        self._peaks[self._current] = max(alive, self._peaks.get(self._current, 0))

    @contextmanager
    def of(self, layers: nn.ModuleList) -> Iterator[None]:
        """In this context, running each of `layers` starts a phase."""
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
        """Peak bytes of the run if `left_out` more layers had been in the middle.

        Raises:
            UnequalLayersError: if the layers that were run need different amounts of memory.
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
        """Bytes that a layer adds to the peak of the next layer's phase."""
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
        """Note that `hidden` enters layer `number`; its gradient ends that layer's phase of the backward pass."""
        if self._backwards:
            return
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        self.begin("after")
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda _: self.begin(f"backward {number - 1}" if number else "last"))
