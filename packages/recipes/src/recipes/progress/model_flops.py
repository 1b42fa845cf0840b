"""The operations that a training step needs, computed from its contents."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import flops, pretended, views_of
from foveal.models.views.normalise import normalised

REFERENCE = Size(672, 672)
"""Size of the picture with which encoder and connector are measured."""


@dataclass(frozen=True)
class ModelFlops:
    """Forward and backward FLOPs of a model, linear in the contents of a step; two for each multiply-add.

    The convention is that of PaLM (arXiv 2204.02311, appendix B): what the model needs, so recomputation does not
    count. Weights cost twice their number in the forward pass, the same again for the gradient of their inputs if they
    or anything before them is trained, and the same again for their own gradient if they are trained. For the decoder
    something always is: the connector or the decoder itself. Attention counts only below the diagonal. The output layer
    counts at supervised tokens, where it runs. Encoder and connector are counted operator by operator on one picture
    and assumed to be linear in the views' pixels.

    Attributes:
        per_token: decoder layers, per token.
        per_supervised: output layer, per supervised token.
        per_square: attention, per squared sequence length.
        per_pixel: encoder, connector and merge, per pixel of a view.
    """

    per_token: float
    per_supervised: float
    per_square: float
    per_pixel: float

    def step(self, *, tokens: float, supervised: float, squares: float, pixels: float) -> float:
        """FLOPs of a step with these numbers of tokens, supervised tokens, squared lengths, and view pixels."""
        return (
            self.per_token * tokens
            + self.per_supervised * supervised
            + self.per_square * squares
            + self.per_pixel * pixels
        )


def model_flops(network: VisionLanguageModel) -> ModelFlops:
    """Compute the FLOPs of a model as it will be trained; `requires_grad` tells what is frozen, no weight is read."""
    decoder = network.language_model
    config, head = decoder.config, decoder.get_output_embeddings()
    layers = [module for module in decoder.modules() if isinstance(module, nn.Linear) and module is not head]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    encoder, connector = _vision(network)
    trained = _trained_share(network.encoder.parameters())
    after = [part for part in (network.connector, network.merge) if part is not None]
    own = _trained_share(weight for part in after for weight in part.parameters())
    return ModelFlops(
        per_token=sum(_linear(layer) for layer in layers),
        per_supervised=_linear(head),
        # Two products forward, four backward, half of the square matrix.
        per_square=6.0 * config.num_hidden_layers * config.num_attention_heads * width,
        per_pixel=encoder * (1 + 2 * trained) + connector * (1 + own + (1 if trained else own)),
    )


def _linear(layer: nn.Linear) -> float:
    # From the layer's sizes, not its weight: four-bit weights are packed, and a rank may hold only a shard.
    passes = 3 if layer.weight.requires_grad else 2
    return 2.0 * passes * layer.in_features * layer.out_features


def _trained_share(parameters: Iterable[nn.Parameter]) -> float:
    sizes = [(weight.numel(), weight.requires_grad) for weight in parameters]
    return sum(size for size, learns in sizes if learns) / max(1, sum(size for size, _ in sizes))


def _vision(network: VisionLanguageModel) -> tuple[float, float]:
    """Forward FLOPs per pixel of a view: (encoder, connector and merge)."""
    seeing = copy.copy(network)
    # Leave out the decoder: it can be huge and quantised, and is not needed here.
    seeing._modules = {**network._modules, "language_model": nn.Module()}
    with pretended(seeing) as pretence:
        views = views_of(pretence, [REFERENCE])
        pixels = normalised(views, pretence.encoder)
        of_encoder = flops(lambda: pretence.encoder.encode_views(pixels))
        of_both = flops(lambda: pretence.merged(views, [REFERENCE]))
    size = sum(view.shape[-2] * view.shape[-1] for view in views)
    return of_encoder / size, (of_both - of_encoder) / size
