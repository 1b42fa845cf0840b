"""Every shipped method has the same tensors as shapes and with weights, so that all weights can be sent."""

import pytest
import torch
from jsonargparse import ArgumentParser, Namespace

from foveal.models import VisionLanguageModel
from recipes.command_line.configurations import merged, shipped_methods
from recipes.estimates.shapes import shapes_of
from recipes.sharding.build import tensors_of


def network_of(method):
    network = merged(f"{method}.yaml")["model"]["network"]
    return {"class_path": "foveal.models.VisionLanguageModel", "init_args": network}


@pytest.mark.parametrize("method", shipped_methods())
def test_shapes_have_the_tensors_of_the_real_network(method):
    settings = network_of(method)
    shapes = shapes_of(VisionLanguageModel, settings).built
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=VisionLanguageModel)
    parsed: Namespace = parser.parse_object({"it": settings})
    real = parser.instantiate(parsed)["it"]
    of_shapes, of_real = (
        {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors_of(network)}
        for network in (shapes, real)
    )
    assert of_shapes == of_real
    # A tensor that is neither parameter nor buffer would have no memory.
    assert not [
        name for name, module in real.named_modules() for each in vars(module).values() if torch.is_tensor(each)
    ]
