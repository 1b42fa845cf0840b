"""Every shipped method as shapes has the very tensors that it has with weights: what is sent finds its place."""

from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace

from foveal.models import VisionLanguageModel
from recipes.command_line.arguments import find_config, shipped_methods
from recipes.estimates.shapes import shapes_of
from recipes.sharding.build import tensors_of


def merged(first, second):
    """`second` laid over `first`, as later configurations are."""
    if (
        not isinstance(first, dict)
        or not isinstance(second, dict)
        or ("class_path" in first and "class_path" in second)
    ):
        return second
    return first | {key: merged(first[key], value) if key in first else value for key, value in second.items()}


def network_of(method):
    read = [yaml.safe_load(Path(find_config(name)).read_text()) for name in ("laptop.yaml", f"{method}.yaml")]
    common, own = (config["model"]["network"] for config in read)
    return {"class_path": "foveal.models.VisionLanguageModel", "init_args": merged(common, own)}


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
