"""The parts of the training that `python -m recipes.fit --config uhd.yaml` runs, for timing them."""

from collections.abc import Callable, Sequence
from functools import partial

from jsonargparse import ArgumentParser
from torch import Tensor, nn
from torch.optim import Optimizer

from foveal.models import Batch
from recipes.command_line.configurations import merged
from recipes.data.pages import PageSettings, draw_page
from recipes.module import Finetuning

BATCH = 32
"""Pages per step."""


def module(config: str = "uhd.yaml") -> Finetuning:
    """The training module of a small configuration, in training mode."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Finetuning, "model")
    built: Finetuning = parser.instantiate_classes(parser.parse_object({"model": merged(config)["model"]})).model
    built.train()
    return built


def batches(built: Finetuning, number: int, *, size: int = BATCH) -> list[Batch]:
    """Batches of the built-in pages at full difficulty."""
    processor, settings = built.network.processor, PageSettings()
    pages = [draw_page(settings, 0, index) for index in range(number * size)]
    samples = [processor.encode([page.image], page.turns) for page in pages]
    return [processor.collate(samples[start : start + size]) for start in range(0, len(samples), size)]


def step(network: nn.Module, optimizer: Optimizer, batch: Batch) -> Tensor:
    """One optimizer step with the configuration's gradient clipping; returns the loss before it."""
    loss = network.loss(batch)  # type: ignore[operator]
    mean: Tensor = loss.total / loss.tokens
    mean.backward()
    nn.utils.clip_grad_norm_([weight for group in optimizer.param_groups for weight in group["params"]], 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return mean.detach()


def optimizer_of(built: Finetuning) -> Optimizer:
    """The optimizer as the module configures it, at the peak learning rates."""
    optimizer: Optimizer = built.configure_optimizers()["optimizer"]
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    return optimizer


def steps(built: Finetuning, optimizer: Optimizer, of: Sequence[Batch]) -> Callable[[], object]:
    """A function that runs one step after the other on all batches `of`."""
    return partial(_steps, built.network, optimizer, of)


def _steps(network: nn.Module, optimizer: Optimizer, of: Sequence[Batch]) -> None:
    for batch in of:
        step(network, optimizer, batch)
