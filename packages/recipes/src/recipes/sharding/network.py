"""Shard a network: which weights are gathered together, and when."""

from types import MethodType

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from foveal.models import VisionLanguageModel, generate
from foveal.models.language_models.injection import decoder_layers


def shard_network(network: VisionLanguageModel, mesh: DeviceMesh, *, computed_in: torch.dtype | None = None) -> None:
    """Shard the weights across the ranks of `mesh`, in place; they are gathered only while they are needed.

    Every decoder layer is gathered and freed separately. Everything else is gathered once per step: an encoder runs
    once per shape of view, the ranks have different numbers of shapes, and they would wait forever for each other's
    layers. Weights that are not floating-point (4 and 8 bits) stay whole on every rank.

    Args:
        network: on the meta device, on the CPU, or on the rank's own device; the same on all ranks.
        mesh: of one dimension, or of two: copies, and ranks that share a copy.
        computed_in: dtype in which autocast multiplies; decoder layers are gathered in it, which halves the traffic.
            Their gradients are reduced in float32.

    Raises:
        ValueError: if trained weights that are gathered together have several dtypes.
    """
    layers = list(decoder_layers(network.language_model))
    _check_dtypes(network, layers)
    whole = {weight for weight in network.parameters() if not weight.is_floating_point()}
    # Inputs are not cast: autocast casts them where it multiplies, and the residual stream keeps its precision, as on
    # one device.
    halves = MixedPrecisionPolicy(param_dtype=computed_in, reduce_dtype=torch.float32, cast_forward_inputs=False)
    policy = MixedPrecisionPolicy() if computed_in is None else halves
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy, ignored_params=whole)
    fully_shard(network, mesh=mesh, ignored_params=whole)
    # Generation does not go through the network's `forward`.
    network.generate = MethodType(generate, network)  # type: ignore[assignment]  # nn.Module types it as a submodule
    register_fsdp_forward_method(network, "generate")


def _check_dtypes(network: VisionLanguageModel, layers: list[torch.nn.Module]) -> None:
    inside = {id(weight) for layer in layers for weight in layer.parameters()}
    rest = {name: weight for name, weight in network.named_parameters() if id(weight) not in inside}
    for unit in (rest, *(dict(layer.named_parameters()) for layer in layers)):
        dtypes = {weight.dtype: name for name, weight in unit.items() if weight.requires_grad}
        if len(dtypes) > 1:
            listed = ", ".join(f"{name} ({str(dtype).removeprefix('torch.')})" for dtype, name in dtypes.items())
            raise ValueError(
                f"weights that are sharded and trained together need one dtype, these differ: {listed}. "
                "Read the language model with dtype: float32 (and train with bf16-mixed), or use precision bf16-true"
            )
