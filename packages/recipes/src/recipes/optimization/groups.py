"""Which weights are trained, at which rate, by which optimizer."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from foveal.core import tables_of


class Rates:
    """Peak learning rates of a network's submodules; for each weight, the longest matching name decides.

    Args:
        network: the model.
        rates: name of a submodule -> its learning rate; None: frozen.

    Raises:
        ValueError: if the network has no such submodule, its weights are tied to another's, or a rate is negative.
    """

    def __init__(self, network: nn.Module, rates: Mapping[str, float | None]) -> None:
        known = dict(network.named_modules())
        for name, rate in rates.items():
            if not name or name not in known:
                near = ", ".join(sorted(child for child in known if child and child.count(".") <= name.count(".")))
                raise ValueError(f"the network has no submodule {name!r} to give a learning rate: {near}")
            if rate is not None and rate < 0:
                raise ValueError(f"the learning rate of {name} is {rate}, expected at least 0")
        self.network, self.rates = network, dict(rates)
        # Recorded now: strategies that shard weights flatten them.
        self.dimensions = {name: weight.ndim for name, weight in network.named_parameters()}
        for name in rates:
            tied = [each for each, _ in known[name].named_parameters() if f"{name}.{each}" not in self.dimensions]
            if tied:
                raise ValueError(f"{name}.{tied[0]} is tied to a weight of another submodule: give that one the rate")

    def owner(self, name: str) -> str | None:
        """The submodule whose rate applies to the weight `name`; None if no rate was given for it."""
        fitting = [prefix for prefix in self.rates if name.startswith(f"{prefix}.")]
        return max(fitting, key=len, default=None)

    def freeze(self) -> None:
        """Freeze the weights without a rate; the others stay as they are, since some parts keep own tables fixed.

        Raises:
            ValueError: if nothing is left to train.
        """
        for name, weight in self.network.named_parameters():
            owner = self.owner(name)
            if owner is None or not self.rates[owner]:
                weight.requires_grad_(False)
        if not any(weight.requires_grad for weight in self.network.parameters()):
            raise ValueError("every part is frozen: give at least one of encoder_lr, connector_lr, language_model_lr")

    def groups(self, *, weight_decay: float, muon: bool) -> dict[str, list[dict[str, Any]]]:
        """Parameter groups: `hidden` matrices (only with `muon`), other `matrices`, and `vectors`.

        Args:
            weight_decay: applies to matrices only; biases, norms and other vectors have none.
            muon: whether matrices inside layers form their own groups.

        Raises:
            ValueError: as `tables_of`.
        """
        apart = {id(weight) for weight in (*tables_of(self.network), *readouts_of(self.network))}
        sorted_out: dict[str, dict[str, list[nn.Parameter]]] = {"hidden": {}, "matrices": {}, "vectors": {}}
        for name, weight in self.network.named_parameters():
            owner, dimensions = self.owner(name), self.dimensions[name]
            if not weight.requires_grad or owner is None:
                continue
            hidden = muon and dimensions == 2 and id(weight) not in apart
            kind = "hidden" if hidden else "matrices" if dimensions > 1 else "vectors"
            sorted_out[kind].setdefault(owner, []).append(weight)
        return {
            kind: [
                {
                    "params": weights,
                    "lr": self.rates[owner],
                    "weight_decay": 0.0 if kind == "vectors" else weight_decay,
                    "name": f"{owner}/{kind}",
                }
                for owner, weights in owners.items()
            ]
            for kind, owners in sorted_out.items()
        }


def readouts_of(network: nn.Module) -> list[Tensor]:
    """The output embeddings of transformers' language models, [vocabulary, width], which give logits."""
    # Found by their method, since naming transformers' base class would import its model code.
    models: list[Any] = [module for module in network.modules() if hasattr(module, "get_output_embeddings")]
    return [readout.weight for model in models if (readout := model.get_output_embeddings()) is not None]
