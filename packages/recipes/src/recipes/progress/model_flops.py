"""The operations that a training step needs, from what was in it."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import flops, pretended, views_of
from foveal.models.views.normalise import normalised

REFERENCE = Size(672, 672)
"""Size of the picture by which encoder and connector are measured."""


@dataclass(frozen=True)
class ModelFlops:
    """Forward and backward FLOPs of a model, linear in what a step holds; two for each multiply-add.

    The convention is that of PaLM (arXiv 2204.02311, appendix B): what the model needs, so what is recomputed does not
    count. Weights cost twice their number forward, as much again for the gradient of their inputs where they or
    something before them is trained, and as much again for their own where they are; in the decoder something always
    is, the connector or itself. Attention counts below the diagonal only. The vocabulary's layer counts at supervised
    tokens, where it runs. Encoder and connector are counted operator by operator on one picture and taken as linear in
    the views' pixels.

    Attributes:
        per_token: of the decoder's layers, for each token.
        per_supervised: of the layer of the vocabulary, for each supervised token.
        per_square: of attention, for the square of a sequence's length.
        per_pixel: of encoder, connector and merge, for each pixel of a view.
    """

    per_token: float
    per_supervised: float
    per_square: float
    per_pixel: float

    def step(self, *, tokens: float, supervised: float, squares: float, pixels: float) -> float:
        """FLOPs of a step with so many tokens, supervised tokens, squares of lengths, and pixels of views."""
        return (
            self.per_token * tokens
            + self.per_supervised * supervised
            + self.per_square * squares
            + self.per_pixel * pixels
        )


def model_flops(network: VisionLanguageModel) -> ModelFlops:
    """Of a model as it will be trained: what is frozen is known by `requires_grad`; its weights are not read."""
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
        # Two products forward, four backward, half of the square.
        per_square=6.0 * config.num_hidden_layers * config.num_attention_heads * width,
        per_pixel=encoder * (1 + 2 * trained) + connector * (1 + own + (1 if trained else own)),
    )


def _linear(layer: nn.Linear) -> float:
    # By its sizes: four-bit weights are packed, and a sharded rank holds a part.
    passes = 3 if layer.weight.requires_grad else 2
    return 2.0 * passes * layer.in_features * layer.out_features


def _trained_share(parameters: Iterable[nn.Parameter]) -> float:
    sizes = [(weight.numel(), weight.requires_grad) for weight in parameters]
    return sum(size for size, learns in sizes if learns) / max(1, sum(size for size, _ in sizes))


def _vision(network: VisionLanguageModel) -> tuple[float, float]:
    """Forward FLOPs per pixel of a view: of the encoder, and of connector and merge."""
    seeing = copy.copy(network)
    # Decoders can be huge and quantised, and are not asked here.
    seeing._modules = {**network._modules, "language_model": nn.Module()}
    with pretended(seeing) as pretence:
        views = views_of(pretence, [REFERENCE])
        pixels = normalised(views, pretence.encoder)
        of_encoder = flops(lambda: pretence.encoder.encode_views(pixels))
        of_both = flops(lambda: pretence.merged(views, [REFERENCE]))
    size = sum(view.shape[-2] * view.shape[-1] for view in views)
    return of_encoder / size, (of_both - of_encoder) / size
