"""Pictures that were encoded already."""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from foveal.core import Size
from foveal.models.merges.merge import Merged
from foveal.models.model import VisionLanguageModel


class SeenPictures:
    """Encodes pictures for the language model, and keeps what came out for the next question about them.

    Pictures are recognised by the bytes of their views. Those that were asked for last are kept.

    Args:
        model: in whose parts nothing changes as long as this is used.
        max_bytes: how much of them is kept.

    Attributes:
        encoded: number of pictures (of views, if the model has no merge) that were encoded.
        reused: number of those that were not, because they were kept.
    """

    def __init__(self, model: VisionLanguageModel, max_bytes: int = 1 << 30) -> None:
        self.model, self.max_bytes = model, max_bytes
        self.encoded = self.reused = 0
        self._kept: OrderedDict[bytes, Merged] = OrderedDict()
        self._bytes = 0

    def __call__(self, views: Sequence[Tensor], sizes: Sequence[Size]) -> list[Merged]:
        """What `VisionLanguageModel.merged` returns; of equal pictures only the first is encoded.

        Args:
            views: of all pictures, one picture after the other, uint8; on the CPU they are recognised fastest.
            sizes: size of each picture.
        """
        units = self._units(views, sizes)
        keys = [_key(own, size) for own, size in units]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: unit for key, unit in zip(keys, units, strict=True) if key not in found}
        if new:
            device = self.model.device
            made = self.model.merged(
                [view.to(device) for own, _ in new.values() for view in own],
                [size for _, size in new.values() if size is not None],
            )
            # Copied, because a picture's rows would keep those of all that were encoded together.
            found.update(zip(new, map(_copied, made), strict=True))
        self.encoded, self.reused = self.encoded + len(new), self.reused + len(keys) - len(new)
        for key in dict.fromkeys(keys):
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def _units(self, views: Sequence[Tensor], sizes: Sequence[Size]) -> list[tuple[Sequence[Tensor], Size | None]]:
        """The views that become one `Merged` each, with the size that the merge needs."""
        inputs, plan = self.model.processor.plan.inputs, self.model.processor.plan
        if self.model.merge is None:
            return [(views[start : start + inputs], None) for start in range(0, len(views), inputs)]
        units: list[tuple[Sequence[Tensor], Size | None]] = []
        start = 0
        for size in sizes:
            end = start + len(plan.views(size))
            units.append((views[start:end], size))
            start = end
        return units

    def _keep(self, key: bytes, picture: Merged) -> None:
        if key not in self._kept:
            self._bytes += _bytes(picture)
        self._kept[key] = picture
        self._kept.move_to_end(key)
        while self._bytes > self.max_bytes and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= _bytes(oldest)


def _key(views: Sequence[Tensor], size: Size | None) -> bytes:
    digest = blake2b(repr((type(size).__name__, size)).encode(), digest_size=16)
    for view in views:
        digest.update(repr((view.dtype, view.shape)).encode())
        digest.update(view.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def _copied(picture: Merged) -> Merged:
    return Merged(picture.tokens.clone(), tuple(stack.clone() for stack in picture.stacks))


def _bytes(picture: Merged) -> int:
    return sum(each.numel() * each.element_size() for each in (picture.tokens, *picture.stacks))
