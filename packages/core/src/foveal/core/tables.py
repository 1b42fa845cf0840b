"""Find the weights that are tables, as modules declare them."""

from torch import Tensor, nn


def tables_of(network: nn.Module) -> list[Tensor]:
    """The weights whose rows are used one by one, such as embeddings, positions and learned queries.

    To an optimizer of maps between layers (Muon) such a weight looks like a matrix but is not one. Weights of
    `nn.Embedding` always count as tables. A module class marks its own parameters by name, for itself and for all
    derived classes:

        class Resampler(nn.Module):
            tables: ClassVar[tuple[str, ...]] = ("query", "positions")

    Args:
        network: made of any modules.

    Raises:
        ValueError: if a class marks a name that is not a parameter of the object (a parameter may be None).
    """
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            found.append(module.weight)
        for kind in type(module).__mro__:
            for name in vars(kind).get("tables", ()):
                weight = getattr(module, name, module)
                if weight is not None and not isinstance(weight, nn.Parameter):
                    raise ValueError(f"{kind.__qualname__}.tables names {name!r}, which is not one of its parameters")
                if weight is not None:
                    found.append(weight)
    return found
