"""DeepStack-V: high-resolution tokens stacked into the layers of a vision transformer."""

from math import isqrt

import torch
from torch import Tensor, nn

from foveal.core import Grid, Size, stacks_of
from foveal.encoders.block import Block
from foveal.encoders.encoder import Encoder
from foveal.encoders.vit import VisionTransformer


class StackedVisionTransformer(Encoder):
    """Encodes a view with its enlarged crops into the view's map (DeepStack-V, arXiv 2406.04334, section 3.3).

    The view and its crops go through the first `start` blocks separately. The crops' maps are laid side by side and
    regrouped into as many stacks of the view's size; before each of the next blocks, one stack is added to the view's
    patches. The class token is never changed by a stack.

    Args:
        tower: the transformer, with one layer requested.
        start: index of the block before which the first stack is added; the paper's best is 20 of 24.
        crops: a square number; the plan cuts the enlarged picture into a square grid of crops.
        post_blocks: new blocks after the tower, whose last output is returned; the reference has 5 when `start` is the
            tower's depth.

    Raises:
        ValueError: if `crops` is not a square number, the tower does not return one layer without a class token, or a
            stack would come after the returned layer. The last stack can be added directly to layer -2, but not to the
            output of the last block: stacks are only added before blocks, as in the reference.
    """

    def __init__(self, tower: VisionTransformer, *, start: int, crops: int = 4, post_blocks: int = 0) -> None:
        super().__init__()
        side = isqrt(max(crops, 0))
        if crops < 1 or side * side != crops:
            raise ValueError(f"the crops must form a square grid: {crops} is not a square number")
        if len(tower.states) != 1 or tower.keep_class_token:
            raise ValueError("the tower must return one layer, without a class token")
        self.tower, self.start, self.crops, self.post_blocks = tower, start, crops, post_blocks
        self.side = side
        self.widths = tower.widths
        self.image_mean, self.image_std = tower.image_mean, tower.image_std
        self.inputs = 1 + crops
        built = len(tower.blocks)
        if post_blocks and built < tower.depth:
            raise ValueError("new blocks come after the whole tower: ask it for its last layer, layers [-1]")
        # The reference adds a stack to the input of a block, and no block follows the last one.
        last = built + post_blocks - int(built == tower.depth)
        if start < 0 or start + crops - 1 > last:
            raise ValueError(
                f"stacks before blocks {start} to {start + crops - 1} do not fit: the returned layer is the output "
                f"of {built + post_blocks} blocks, so the last stack can come before block {last} at the latest, "
                "counted from 0; choose a smaller start or fewer crops"
            )
        self.post = nn.ModuleList(
            Block(tower.width, tower.heads, tower.mlp_width, tower.activation, tower.norm_eps, tower.backend)
            for _ in range(post_blocks)
        )

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        if len(set(sizes)) > 1:
            found = ", ".join(map(str, sorted(set(sizes))))
            raise ValueError(f"the view and its crops must have one size, but have {found}")
        return (self.tower.grid(sizes[0]),)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """The view, then its crops, each [views, 3, height, width] -> one [views, rows*columns, width]."""
        (grid,) = self.grids(*(Size.of_view(views) for views in self.checked(pixels)))
        hidden = self.tower.embed(torch.cat(pixels))
        for number in range(self.start):
            hidden = self._run(number, hidden)
        low, *crops = hidden.chunk(self.inputs)
        first = self.tower.extra_tokens
        stacks = stacks_of([crop[:, first:] for crop in crops], Grid(self.side, self.side), grid)
        last = len(self.tower.blocks) + len(self.post)
        for number in range(self.start, last + 1):
            if number - self.start < len(stacks):
                low = torch.cat([low[:, :first], low[:, first:] + stacks[number - self.start]], dim=1)
            if number < last:
                low = self._run(number, low)
        return (low[:, first:],)

    def _run(self, number: int, hidden: Tensor) -> Tensor:
        built = len(self.tower.blocks)
        if number < built:
            return self.tower.run_block(number, hidden)
        result: Tensor = self.post[number - built](hidden)
        return result
