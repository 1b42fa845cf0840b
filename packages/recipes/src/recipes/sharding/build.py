"""Shard a network with weights; only the first rank ever holds all of them, and only in host memory."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor

from foveal.models import VisionLanguageModel
from recipes.sharding.network import shard_network
from recipes.sharding.strategy import Sharded

T = TypeVar("T")
COMPUTED_IN = {"bf16-mixed": torch.bfloat16}


def as_now(build: Callable[[], T]) -> Callable[[], T]:
    """Defer `build`: later it draws the random numbers that it would draw now, without affecting the generator."""
    state = torch.get_rng_state()

    def built() -> T:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            return build()

    return built


def divide(
    network: VisionLanguageModel, strategy: Sharded, source: Callable[[], VisionLanguageModel] | None = None
) -> None:
    """Shard the network; one without weights gets those that `source` builds on the first rank.

    Args:
        network: the same on all ranks: whole (then the first rank's weights are used), or on the meta device. An
            already sharded network is left unchanged.
        strategy: the strategy, after its processes have connected.
        source: builds the network with weights, if it is on the meta device.

    Raises:
        ValueError: if the network has no weights and no source, or as `fill` and `shard_network`.
    """
    plugin = strategy.precision_plugin
    if isinstance(network, FSDPModule):
        return
    empty = any(tensor.is_meta for _, tensor in tensors_of(network))
    if empty and source is None:
        raise ValueError("the network is on the meta device: give a source that builds it with weights")
    plugin.convert_module(network)
    if not empty:
        for _, tensor in tensors_of(network):
            if tensor.is_floating_point():
                tensor.data.copy_(sent(tensor.data.to(strategy.root_device)))
    shard_network(network, strategy.mesh, computed_in=COMPUTED_IN.get(str(plugin.precision)))
    if empty and source is not None:
        network.to_empty(device=strategy.root_device)
        fill(network, source)


@torch.no_grad()
def fill(network: VisionLanguageModel, source: Callable[[], VisionLanguageModel]) -> None:
    """Copy weights and buffers, one at a time, from a network built on the first rank into a sharded one.

    Args:
        network: sharded; everything it holds is overwritten, including buffers outside the state dict such as rotary
            angles.
        source: called only on the first rank; its result is emptied on the way and may have other dtypes.

    Raises:
        ValueError: on all ranks, if the source cannot be built, or its names or shapes differ from the network's.
    """
    first = distributed.get_rank() == 0
    wanted = dict(tensors_of(network))
    built, error = _attempt(source) if first else (None, None)
    # Not the tensors themselves: those are emptied on the way.
    given = {} if built is None else {name: tensor.data for name, tensor in tensors_of(built)}
    shapes = _broadcast({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in given.items()}, error)
    _check_same(shapes, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
    for name, target in wanted.items():
        shape, dtype = shapes[name]
        device = target.device
        whole = given.pop(name).to(device) if first else torch.empty(shape, dtype=dtype, device=device)
        if first and built is not None:
            _let_go(built, name)
        whole = sent(whole)
        if isinstance(target, DTensor):
            # Without a source rank: every rank has the whole tensor and cuts out its own shard.
            own = distribute_tensor(whole, target.device_mesh, target.placements, src_data_rank=None)
            target.to_local().copy_(own.to_local())
        else:
            target.copy_(whole)
    _check_nothing_missing(network)


def tensors_of(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters and buffers with their names; tied ones appear once, under their first name."""
    yield from network.named_parameters()
    yield from network.named_buffers()


def sent(tensor: Tensor) -> Tensor:
    """Send the first rank's `tensor` to all ranks, overwriting theirs."""
    # As bytes: not every backend knows every dtype.
    whole = tensor.contiguous()
    distributed.broadcast(whole.view(-1).view(torch.uint8), src=0)
    return whole


def _attempt(source: Callable[[], VisionLanguageModel]) -> tuple[VisionLanguageModel | None, Exception | None]:
    """The network that `source` builds, or its error, since the waiting ranks must be told."""
    try:
        return source(), None
    except Exception as error:
        return None, error


def _broadcast(shapes: dict[str, Any], error: Exception | None) -> dict[str, Any]:
    """The first rank's `shapes` on all ranks.

    Raises:
        ValueError: on all ranks, if the first one failed; on the first rank, its own error.
    """
    told: list[Any] = [shapes, None if error is None else str(error)]
    distributed.broadcast_object_list(told, src=0)
    if error is not None:
        raise error
    if told[1] is not None:
        raise ValueError(f"the first rank could not build the model: {told[1]}")
    received: dict[str, Any] = told[0]
    return received


def _check_same(given: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> None:
    faults = sorted(given.keys() ^ wanted.keys())
    faults += [name for name in wanted if name in given and given[name][0] != wanted[name]]
    if faults:
        raise ValueError(
            f"the model as shapes and the model with weights differ in {len(faults)} tensors, among them {faults[:5]}: "
            "some part is built differently on the meta device"
        )


def _let_go(network: nn.Module, name: str) -> None:
    """Free the memory of a tensor that has been sent."""
    owner, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(network.get_submodule(owner), leaf)
    tensor.data = tensor.data.new_empty(0)


def _check_nothing_missing(network: nn.Module) -> None:
    """Refuse a network with tensors that cannot be filled, being neither parameters nor buffers.

    Raises:
        ValueError: naming the module and the attribute.
    """
    for name, module in network.named_modules():
        for attribute, value in (*vars(module).items(), *module.named_parameters(recurse=False)):
            if isinstance(value, Tensor) and value.is_meta:
                raise ValueError(
                    f"{name}.{attribute} is a tensor without memory: it must be a parameter or a buffer to be sharded"
                )
