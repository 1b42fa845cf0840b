"""The training module: which parts are trained, at which rates, and what is measured."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric

from foveal.models import Batch, VisionLanguageModel
from foveal.models.language_models.compiled_layers import compile_layers
from foveal.models.language_models.quantize import refuse_training
from foveal.models.lora import Lora, add_lora, has_lora, lora_of
from recipes.data.eval_batch import EvalBatch, blanked
from recipes.metrics import ANLS, CharacterErrorRate, ExactMatch
from recipes.optimization.groups import Rates
from recipes.optimization.optimizer import MuonAdamW
from recipes.sharding import Sharded, answers, divide


class Finetuning(pl.LightningModule):
    """Train the chosen parts of a vision-language model on conversations.

    The loss of an optimizer step is the mean over all supervised tokens of the step, across its micro-batches and
    ranks: gradients of summed losses are accumulated and divided once, before the optimizer uses them.

    Args:
        network: the model.
        encoder_lr: peak learning rate of the encoder; null: frozen.
        connector_lr: peak learning rate of the connector and of the merge; null: frozen.
        language_model_lr: peak learning rate of the language model, with `lora` of its adapters; null: frozen.
        rates: peak learning rates of single submodules, overriding those above, by their names in the network, as in
            `{connector.stages.0: 1.0e-4}`; null: frozen.
        warmup: share of the steps in which the rate rises from 0; afterwards it falls to 0 along a cosine.
        weight_decay: applies to matrices only; biases, norms and other vectors have none.
        betas: AdamW's betas.
        optimizer: `adamw`, with which the published models were trained; or `muon` for the matrices inside layers and
            AdamW for the rest, which gets a small model off the plateau before it learns to read.
        max_new_tokens: longest answer in validation, in tokens.
        language_model_checkpointing: recompute the decoder layers in the backward pass instead of keeping their
            activations (the encoder has its own switch).
        compile_layers: run the decoder layers through `torch.compile` in training. It pays with packed rows, whose
            shape stays the same; the first steps take minutes.
        lora: adapters on the linear layers of the decoder, trained instead of the language model's own weights; the
            encoder must be frozen. A folder with adapters and connector is saved. null: none, or those that the
            network has already, which are then trained on.

    Raises:
        ValueError: if everything is frozen, or `warmup` is not in [0, 1); with `lora` if the encoder is trained or the
            adapters are not, or the network has other adapters already.
        ImportError: with `lora`, if peft is not installed.
    """

    def __init__(
        self,
        network: VisionLanguageModel,
        *,
        encoder_lr: float | None = None,
        connector_lr: float | None = 1e-3,
        language_model_lr: float | None = None,
        rates: Mapping[str, float | None] | None = None,
        warmup: float = 0.03,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        optimizer: Literal["adamw", "muon"] = "adamw",
        max_new_tokens: int = 32,
        language_model_checkpointing: bool = False,
        compile_layers: bool = False,
        lora: Lora | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of the steps, at least 0 and below 1, but is {warmup}")
        if has_lora(network.language_model):
            lora = _trained_on(network, lora)
        elif lora is not None:
            add_lora(network, lora)
        elif language_model_lr:
            refuse_training(network.language_model)
        self.network, self.lora = network, lora
        parts = {"encoder": encoder_lr, "connector": connector_lr, "language_model": language_model_lr}
        if network.merge is not None:
            parts["merge"] = connector_lr
        self.rates = Rates(network, {**parts, **(rates or {})})
        self.rates.freeze()
        if lora is not None:
            _check_adapters_alone(self.rates)
        self.warmup, self.weight_decay, self.betas, self.optimizer = warmup, weight_decay, betas, optimizer
        self.max_new_tokens, self.compile_layers = max_new_tokens, compile_layers
        self.blank_pictures = False
        if language_model_checkpointing:
            network.language_model.activation_checkpointing_enable({"use_reentrant": False})
        with torch.device("cpu"):  # even if the module is built on the meta device
            self.scores: dict[str, Metric] = nn.ModuleDict(  # type: ignore[assignment]  # one, with typed values
                {"anls": ANLS(), "exact": ExactMatch(), "cer": CharacterErrorRate()}
            )
        self._step: list[tuple[Tensor, int, tuple[str, ...]]] = []
        self.source: Callable[[], Self] | None = None
        """Builds the same module with weights, for a network on the meta device that will be sharded."""

    def configure_model(self) -> None:
        """Shard the network if the strategy shards; called on all ranks, again before every later validation."""
        if isinstance(self.trainer.strategy, Sharded):
            build, self.source = self.source, None
            divide(self.network, self.trainer.strategy, None if build is None else lambda: build().network)

    def on_fit_start(self) -> None:
        """Switch to training mode: loaded models are in evaluation mode, and Lightning keeps the mode it finds.

        Raises:
            RuntimeError: if the layers are to be compiled and there is no C++ compiler.
        """
        self.network.train()
        if self.compile_layers:
            compile_layers(self.network.language_model)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.network.loss(batch)
        self._step.append((loss.total.detach(), loss.tokens, batch.keys))
        return loss.total

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Turn the gradients of summed losses into those of the mean over the whole step's supervised tokens.

        Lightning divides every micro-batch's loss by their number, and the ranks' gradients are averaged: both are
        undone here.

        Raises:
            NonFiniteLossError: on all ranks, before the weights change, if the loss of any micro-batch is not finite.
        """
        step, self._step = self._step, []
        total = torch.stack([total.float() for total, _, _ in step]).sum()
        sums = torch.stack([total, torch.full_like(total, sum(tokens for _, tokens, _ in step))])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        loss, tokens = sums[0], sums[1].clamp(min=1)
        if not torch.isfinite(loss):
            own = tuple(key for total, _, keys in step if not torch.isfinite(total) for key in keys)
            raise NonFiniteLossError(float(loss), own)
        factor = self.trainer.accumulate_grad_batches * self.trainer.world_size / tokens
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)
        self.log("train/loss", loss / tokens, prog_bar=True, batch_size=1)

    def validation_step(self, batch: EvalBatch, batch_idx: int) -> list[str]:
        """Answer the questions and score those that count; scores on blank pictures are logged as `blank/...`."""
        seen = blanked(batch) if self.blank_pictures else batch
        predictions = answers(self.network, seen.batch, max_new_tokens=self.max_new_tokens)[: batch.counted]
        for score in self.scores.values():
            score.update(predictions, batch.references[: batch.counted])
        group = "blank" if self.blank_pictures else "val"
        for name, score in self.scores.items():
            self.log(f"{group}/{name}", score, prog_bar=name == "anls", batch_size=max(1, len(predictions)))
        return predictions

    def configure_optimizers(self) -> dict[str, Any]:
        """Parameter groups per submodule and kind; per step, a linear warm-up and a cosine decay."""
        groups = self.rates.groups(weight_decay=self.weight_decay, muon=self.optimizer == "muon")
        others = groups["matrices"] + groups["vectors"]
        optimizer: Optimizer = (
            MuonAdamW(groups["hidden"], others, betas=self.betas)
            if groups["hidden"]
            else AdamW(others, betas=self.betas)
        )
        # A plain function: LambdaLR would store the attributes of any other object in the training state, and a
        # resumed run would use the old number of steps instead of the configured one.
        schedule = LambdaLR(optimizer, lambda step: self._share_of_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _share_of_rate(self, step: int) -> float:
        # At step 0 nothing may ask for the number of steps: that would build the data loader before a training state
        # is restored, and the loader would start from the beginning.
        if step == 0:
            return 0.0 if self.warmup > 0 else 1.0
        steps = int(self.trainer.estimated_stepping_batches)
        return warmup_cosine(step, math.ceil(self.warmup * steps), steps)


def _trained_on(network: VisionLanguageModel, wanted: Lora | None) -> Lora:
    """The settings of the adapters that the network has already.

    Raises:
        ValueError: if others are wanted.
    """
    lora = lora_of(network.language_model)
    if wanted not in (None, lora):
        raise ValueError(
            f"the network has adapters with rank={lora.rank}, alpha={lora.alpha}, dropout={lora.dropout}, other than "
            f"{wanted}: train them on with --model.lora=null, or merge them first (python -m recipes.merge)"
        )
    return lora


def _check_adapters_alone(rates: Rates) -> None:
    """Refuse rates that an adapter folder cannot represent: it holds adapters and connector only.

    Raises:
        ValueError: if weights of the base have a rate, or no adapter has one.
    """
    for name, rate in rates.rates.items():
        weights = list(rates.network.get_submodule(name).parameters())
        if rate and weights and not any(weight.requires_grad for weight in weights):
            raise ValueError(
                f"{name} has the learning rate {rate}, but with lora it belongs to the base, which is not saved: set "
                "its rate (encoder_lr, or its own in rates) to null"
            )
    if not any(weight.requires_grad for weight in rates.network.get_submodule("language_model").parameters()):
        raise ValueError("lora adds adapters, but nothing trains them: set language_model_lr, their learning rate")


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak rate at a step: up from 0 in `warmup_steps`, then half a cosine down to 0 at `steps`."""
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class NonFiniteLossError(ValueError):
    """The loss became infinite or NaN; `keys` are the samples of the micro-batches of this rank where it did."""

    def __init__(self, loss: float, keys: tuple[str, ...]) -> None:
        super().__init__(f"the loss became {loss}")
        self.keys = keys
