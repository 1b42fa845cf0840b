"""The cost of a configuration, as tables."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from rich.table import Table

from foveal.core import Size
from foveal.models import VisionLanguageModel
from foveal.models.estimates.cost import Cost, copied, cost, picture_size
from foveal.models.estimates.memory import Memory, answering, fitting
from foveal.models.estimates.shape_only_layers import quantized, with_adapters
from foveal.models.language_models.quantize import Kind
from foveal.models.lora import Lora
from recipes.command_line.console import stop
from recipes.commands.fit import FitCommand
from recipes.estimates.room_to_fit import batch_size, hidden_names, memory_to_fit
from recipes.estimates.shapes import quantization, shapes_of
from recipes.optimization.groups import Rates

ANSWER = 128
"""Tokens of an answer: the default maximum of `recipes.predict`."""
CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 192)
"""Memory sizes of graphics cards, in GiB."""
RESERVED = 1e9
"""Bytes of a card reserved for the driver, libraries and fragmentation: an allowance, not measured."""


class CostCommand(FitCommand):
    """Print tables instead of training: only the configuration's model is built, as shapes.

    The line below the tables is the memory of the training as configured: trained parts, precision, devices, strategy.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--image",
            type=str,
            nargs="+",
            default=["672x672"],
            help="Sizes of one prompt's pictures, WIDTHxHEIGHT in pixels.",
        )
        parser.add_argument("--text", type=int, default=64, help="Text tokens in addition to the pictures.")
        # A checkpoint alone has a cost; the data only determines the batch size of a training.
        parser.set_defaults({"data": "recipes.data.PagesData"})
        parser.add_argument("--ranks", type=int, default=8, help="Devices across which a model is sharded.")

    def before_instantiate_classes(self) -> None:
        """Parse the picture sizes; nothing is loaded, so nothing is refused.

        Raises:
            SystemExit: with 2 if one of them is not a size.
        """
        try:
            self.pictures = [picture_size(text) for text in self._get(self.config, "image")]
        except ArgumentTypeError as error:
            stop(f"--image: {error}")

    def instantiate_classes(self) -> None:
        """Build only the network."""
        self.settings = self._get(self.config, "model").as_dict()
        self.network = shapes_of(VisionLanguageModel, self.settings["network"])

    def _run_subcommand(self, subcommand: str) -> None:
        text = self._get(self.config, "text")
        batch = batch_size(self._get(self.config, "data").as_dict())
        model, kind = self.network.built, quantization(self.settings["network"]) or "nf4-dq"
        print_cost(cost(model, self.pictures, text=text), self.pictures, text)
        training = {"text": text, "batch": batch, "mixed": torch.bfloat16}
        training["accumulated"] = self._get(self.config, "trainer")["accumulate_grad_batches"] > 1
        kept, recomputed = (
            trainings(
                model,
                self.settings,
                kind,
                lambda network, **options: fitting(network, self.pictures, **training, **options),
                ranks=self._get(self.config, "ranks"),
                checkpointing=checkpointing,
            )
            for checkpointing in (False, True)
        )
        configured = {name: self._get(self.config, name).as_dict() for name in ("model", "trainer", "data")}
        print_memory(answers(model, kind, self.pictures, text=text) | kept, recomputed, batch)
        print(f"as set: {described(memory_to_fit(configured, self.pictures, text=text))}")
        for remark in self.network.remarks:
            print(remark)


def answers(model: VisionLanguageModel, kind: Kind, pictures: Sequence[Size], *, text: int) -> dict[str, Memory]:
    """Memory to answer one prompt, in bf16 and quantised.

    Args:
        model: on the meta device.
        kind: how its decoder is quantised.
        pictures: sizes of the prompt's pictures.
        text: text tokens of the prompt.
    """
    half = copied(model).bfloat16()
    return {
        "answer bf16": answering(half, pictures, text=text, new_tokens=ANSWER),
        f"answer {kind}": answering(quantized(half, kind), pictures, text=text, new_tokens=ANSWER),
    }


def trainings(
    model: VisionLanguageModel,
    settings: Mapping[str, Any],
    kind: Kind,
    estimate: Callable[..., Memory],
    *,
    ranks: int,
    checkpointing: bool,
) -> dict[str, Memory]:
    """Memory to train connector and language model, and the encoder if it has a learning rate, in bf16.

    LoRA keeps frozen weights in bf16 or quantised, trained weights in float32, and trains its adapters with AdamW. Full
    training keeps all weights in float32.

    Args:
        model: on the meta device.
        settings: of `Finetuning`.
        kind: how the decoder is quantised.
        estimate: `fitting` with the samples already given; takes a model, `muon` and `ranks`.
        ranks: devices across which the model is sharded in the last column.
        checkpointing: whether decoder layers are recomputed in the backward pass.
    """
    full = copied(model).float()
    if checkpointing:
        full.language_model.activation_checkpointing_enable({"use_reentrant": False})
    trains_encoder = bool(settings["encoder_lr"])
    learning = {name: 1.0 for name in ("connector", "merge", "language_model") if getattr(full, name) is not None}
    rates = Rates(full, {**learning, "encoder": 1.0 if trains_encoder else None})
    rates.freeze()
    base = copied(full)
    base.language_model.bfloat16()
    if not trains_encoder:
        base.encoder.bfloat16()
    muon = hidden_names(rates) if settings["optimizer"] == "muon" else []
    lora = settings["lora"] or asdict(Lora())
    adapters = {"rank": lora["rank"], "dropout": lora["dropout"]}
    return {
        "LoRA bf16": estimate(with_adapters(base, **adapters)),
        f"LoRA {kind}": estimate(with_adapters(quantized(base, kind), **adapters)),
        "full": estimate(full, muon=muon),
        f"full, {ranks} GPUs": estimate(full, muon=muon, ranks=ranks),
    }


def print_cost(found: Cost, pictures: Sequence[Size], text: int) -> None:
    """Print the tokens, and the parameters and FLOPs of every part."""
    sizes = ", ".join(map(str, pictures))
    stacked = f", {found.stacked} stacked into layers" if found.stacked else ""
    marks = f", {found.marks} marks" if found.marks else ""
    print(f"{sizes} pixels: {found.views} views, {found.visual} visual tokens{stacked}{marks}; {text} tokens of text")
    table = Table(title="one prompt", title_justify="left")
    for title in ("part", "parameters", "TFLOP"):
        table.add_column(title, justify="left" if title == "part" else "right")
    for name in ("encoder", "connector", "language_model", "total"):
        numbers = getattr(found.parameters, name), getattr(found.flops, name)
        table.add_row(name.replace("_", " "), f"{numbers[0] / 1e6:,.1f} M", f"{numbers[1] / 1e12:.3f}")
    Console().print(table)


def print_memory(found: Mapping[str, Memory], recomputed: Mapping[str, Memory], batch: int) -> None:
    """Print peak memory for every way to use the model.

    Args:
        found: memory by way.
        recomputed: memory by way of training, with decoder layers recomputed.
        batch: samples per device in training.
    """
    table = Table(title=f"GB on a device; training in batches of {batch}", title_justify="left")
    table.add_column("")
    for name in found:
        # On two lines, so that the table fits a narrow terminal.
        table.add_column(name.replace(",", "").replace(" ", "\n", 1), justify="right")
    for name in ("weights", "cache", "gradients", "optimizer", "activations", "total"):
        numbers = [getattr(each, name) for each in found.values()]
        table.add_row(name, *(f"{number / 1e9:.2f}" for number in numbers), end_section=name == "activations")
    table.add_row("smallest card", *(smallest_card(each.total) for each in found.values()), end_section=True)
    less = [recomputed.get(name) for name in found]
    table.add_row("recomputing", *("" if each is None else f"{each.total / 1e9:.2f}" for each in less))
    table.add_row("smallest card", *("" if each is None else smallest_card(each.total) for each in less))
    Console().print(table)


def described(found: Memory) -> str:
    """A device's memory in training, in words."""
    parts = ("weights", "gradients", "optimizer", "activations")
    listed = ", ".join(f"{part} {getattr(found, part) / 1e9:.2f}" for part in parts)
    return f"{found.total / 1e9:.2f} GB on each device ({listed}); smallest card: {smallest_card(found.total)}"


def smallest_card(needed: int) -> str:
    """The smallest common card with at least `needed` bytes, as `24 GiB`; a dash if there is none."""
    return next((f"{card} GiB" for card in CARDS if needed + RESERVED <= card * 2**30), "-")
