"""A connector that does not keep its argument: no checkpoint could say how it was made."""

from foveal.connectors import MlpProjector


class Forgetful(MlpProjector):
    def __init__(self, in_width: int, out_width: int, strength: float = 1.0) -> None:
        super().__init__(in_width, out_width)
