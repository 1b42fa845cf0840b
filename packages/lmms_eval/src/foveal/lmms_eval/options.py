"""The options of `--model_args`, which are named as those of `python -m recipes.predict`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch

from foveal.models import VisionLanguageModel, load, load_adapter
from foveal.models.language_models.quantize import Kind
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.views.named import PlanName

Policy = Literal["raise", "skip"]
CHOICES = {
    "quantize": get_args(Kind),
    "template": get_args(TemplateName),
    "plan": get_args(PlanName),
    "on_bad_sample": get_args(Policy),
}
TEXTS = ("checkpoint", "base", "encoder", "device")


@dataclass(frozen=True)
class Options:
    """Which model is evaluated, and how.

    Attributes:
        checkpoint: folder or hub name, as for `foveal.models.load`.
        base: the base of adapters; None: where it was in training.
        quantize: how the decoder is quantised while it is read; None: as it was saved.
        template: prompt template; None: the checkpoint's.
        plan: variant of the checkpoint's view plan; None: its own.
        encoder: folder or hub name of the image tower, if the checkpoint has none.
        allow_import: packages other than Foveal that the checkpoint may import classes from.
        cuda_graphs: launch all kernels of a decoding step at once, where possible.
        device: cpu, cuda, cuda:1 ...; None: the GPU if there is one. `cuda` is the GPU of this process.
        batch_size: questions answered together.
        on_bad_sample: `skip`: a question that cannot be answered is answered with nothing, and logged; `raise`: it
            ends the evaluation.
    """

    checkpoint: str
    base: str | None = None
    quantize: Kind | None = None
    template: TemplateName | None = None
    plan: PlanName | None = None
    encoder: str | None = None
    allow_import: tuple[str, ...] = ()
    cuda_graphs: bool = False
    device: str | None = None
    batch_size: int = 1
    on_bad_sample: Policy = "raise"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Options":
        """Check what lmms-eval has parsed: `true` is a bool there, and digits are numbers.

        Raises:
            ValueError: naming the option, if it is unknown, missing or has an unusable value.
        """
        names = [each.name for each in fields(cls)]
        if unknown := sorted(given.keys() - set(names)):
            raise ValueError(f"--model_args: there is no {unknown[0]}; the model foveal takes {', '.join(names)}")
        values = {name: value for name, value in given.items() if value is not None}
        if "checkpoint" not in values:
            raise ValueError("--model_args: checkpoint is missing: give checkpoint=FOLDER, or a hub name")
        for name in TEXTS:
            if not isinstance(values.get(name, ""), str):
                raise ValueError(
                    f"--model_args: {name} was read as {values[name]!r}, which is not a text; a folder of that name is "
                    "./NAME"
                )
        for name, choices in CHOICES.items():
            if name in values and values[name] not in choices:
                raise ValueError(f"--model_args: {name} is {values[name]!r}, not one of {', '.join(choices)}")
        if not isinstance(values.get("cuda_graphs", False), bool):
            raise ValueError(f"--model_args: cuda_graphs is {values['cuda_graphs']!r}: it must be true or false")
        values["batch_size"] = _batch_size(values.get("batch_size", 1))
        values["allow_import"] = _packages(values.get("allow_import", ()))
        return cls(**values)

    def opened(self) -> VisionLanguageModel:
        """The model on its device, in evaluation mode. Errors are those of `load` and `load_adapter`."""
        settings: dict[str, Any] = {
            "quantize": self.quantize,
            "template": self.template,
            "plan": self.plan,
            "encoder": self.encoder,
            "allow": self.allow_import,
        }
        model = (
            load(self.checkpoint, **settings)
            if self.base is None
            else load_adapter(self.checkpoint, base=self.base, **settings)
        )
        return model.to(self.own_device())

    def own_device(self) -> torch.device:
        """The device of this process: on several processes, each has the GPU of its local rank."""
        device = torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return device


def _batch_size(given: Any) -> int:
    """lmms-eval passes the text of its command line."""
    if isinstance(given, str) and given.isdecimal():
        given = int(given)
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ValueError(f"--batch_size is {given!r}: it must be a whole number, at least 1")
    return given


def _packages(given: Any) -> tuple[str, ...]:
    """One name, or several in brackets, which lmms-eval leaves as they are: `allow_import=[mine,other]`."""
    names = given.strip("[]").split(",") if isinstance(given, str) else list(given)
    if odd := [name for name in names if not (isinstance(name, str) and name.replace(".", "_").isidentifier())]:
        raise ValueError(f"--model_args: allow_import has {odd[0]!r}, which is not the name of a package")
    return tuple(names)
