"""Tables among weights: what modules say of their own."""

from torch import Tensor, nn


def tables_of(network: nn.Module) -> list[Tensor]:
    """The weights whose rows are used one by one, as embeddings, positions and learned queries are.

    To an optimizer of maps between layers (Muon) such a weight looks like a matrix and is none. Weights of
    `nn.Embedding` are tables by themselves. A module marks its own parameters by their names, for itself and for all
    classes that are derived from it:

        class Resampler(nn.Module):
            tables: ClassVar[tuple[str, ...]] = ("query", "positions")

    Args:
        network: of any modules.

    Raises:
        ValueError: if a class marks a name that is no parameter of its object (a parameter may be None).
    """
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Embedding):
            found.append(module.weight)
        for kind in type(module).__mro__:
            for name in vars(kind).get("tables", ()):
                weight = getattr(module, name, module)
                if weight is not None and not isinstance(weight, nn.Parameter):
                    raise ValueError(f"{kind.__qualname__}.tables names {name!r}, which is no parameter of it")
                if weight is not None:
                    found.append(weight)
    return found
