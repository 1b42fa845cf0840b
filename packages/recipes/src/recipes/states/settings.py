"""Settings of training states."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StateSettings:
    """How often training states are written, in addition to the end of the run, Ctrl-C, SIGTERM and SIGUSR1.

    Attributes:
        every_steps: optimizer steps between states; null: only by time.
        every_minutes: minutes between states; null: only by steps.
        keep: number of newest states to keep; 0: none is ever written.
    """

    every_steps: int | None = None
    every_minutes: float | None = 15.0
    keep: int = 2

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.every_steps < 1:
            raise ValueError(f"states.every_steps must be at least 1, not {self.every_steps}")
        if self.every_minutes is not None and self.every_minutes <= 0:
            raise ValueError(f"states.every_minutes must be above 0, not {self.every_minutes}")
        if self.keep < 0:
            raise ValueError(f"states.keep must be at least 0, not {self.keep}")
