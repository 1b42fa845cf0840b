"""Projectors of LLaVAs that read several layers of their tower: ViP-LLaVA, and Granite Vision as a LLaVA-NeXT.

The layers are concatenated along channels, in the order of `vision_feature_layer`; ViP-LLaVA normalises them together
before its MLP (arXiv 2312.00784, section 3.1).
"""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from foveal.connectors import Chain, ConcatChannels, MlpProjector, Norm
from foveal.connectors.combine import Stage
from foveal.connectors.mlp import TRANSFORMERS
from foveal.models.published.recipe import Reading

NORM = "projector_layernorm."


def projector_of_layers(widths: tuple[int, ...], out_width: int, *, norm_eps: float | None) -> tuple[Chain, Reading]:
    """The projector of a folder in transformers' layout, with new weights, and how it is filled.

    Args:
        widths: channels of the layers.
        out_width: width of the language model.
        norm_eps: epsilon of the norm before the MLP; None: there is no norm.
    """
    stages: list[Stage] = [ConcatChannels] if len(widths) > 1 else []
    if norm_eps is not None:
        stages.append(partial(Norm, eps=norm_eps))
    chain = Chain(widths, out_width, stages=stages, last=MlpProjector)
    norm = f"stages.{len(stages) - 1}.norm."

    def convert(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
        normed = {name: tensor for name, tensor in tensors.items() if norm_eps is not None and name.startswith(NORM)}
        rest = {name: tensor for name, tensor in tensors.items() if name not in normed}
        read = {f"last.{name}": tensor for name, tensor in TRANSFORMERS.read(rest, source=source).items()}
        return read | {norm + name.removeprefix(NORM): tensor for name, tensor in normed.items()}

    return chain, Reading("connector", chain, convert)
