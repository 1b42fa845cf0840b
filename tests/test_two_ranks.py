"""Two processes: one without pictures must not keep the other waiting, and both form one step."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import Batch, PadToSquare, Turn, VisionLanguageModel, byte_tokenizer, llama


class Loss(torch.nn.Module):
    """`VisionLanguageModel.loss` as a forward, which DistributedDataParallel hooks into."""

    def __init__(self, network: VisionLanguageModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.network.loss(batch).total


def network() -> VisionLanguageModel:
    torch.manual_seed(0)
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        lambda i, o: AdaptivePool(i, o, rows=1, columns=1),
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
    ).train()


def batches(model: VisionLanguageModel) -> list[Batch]:
    picture = Image.new("RGB", (20, 10), "red")
    seen = model.processor.encode([picture], [Turn("user", "<image>\nA?"), Turn("assistant", "red")])
    read = model.processor.encode([], [Turn("user", "B?"), Turn("assistant", "no")])
    return [model.processor.collate([sample]) for sample in (seen, read)]


def one_rank(rank: int, port: int, queue: "mp.SimpleQueue[dict[str, torch.Tensor]]") -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = network()
    wrapped = DistributedDataParallel(Loss(model))
    wrapped(batches(model)[rank]).backward()
    if rank == 0:
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
        queue.put({name: gradient.tolist() for name, gradient in gradients.items()})
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.slow
def test_a_rank_without_pictures():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    context = mp.spawn(one_rank, args=(port, queue), nprocs=2, join=False)
    gradients = queue.get()
    while not context.join(timeout=60):
        pass
    model = network()
    sum(model.loss(batch).total for batch in batches(model)).backward()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(torch.tensor(gradients[name]) * 2, weight.grad, atol=1e-5, rtol=1e-4)
