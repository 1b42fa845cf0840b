"""How many tokens a view becomes, known without weights."""

import copy
from typing import TypeVar

import torch

from foveal.connectors import Connector
from foveal.encoders import Encoder

Module = TypeVar("Module", bound=torch.nn.Module)


class TokenCount:
    """Tokens of one view: `count(height, width)`, sizes in pixels.

    Holds the encoder and the connector as they are, but with every tensor on the meta device: nothing is computed, and
    a loader worker that receives a copy receives no weights.
    """

    def __init__(self, encoder: Encoder, connector: Connector) -> None:
        self.encoder = _without_weights(encoder)
        self.connector = _without_weights(connector)

    def __call__(self, height: int, width: int) -> int:
        """Tokens of a view of height x width pixels.

        Raises:
            ValueError: if the encoder's patch does not divide the view or the connector cannot take its grid.
        """
        return self.connector.num_tokens(self.encoder.grid(height, width))


def _without_weights(module: Module) -> Module:
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors})
