"""Training states: everything that a run needs to go on exactly where it was, on any number of ranks."""

from recipes.states.callback import StateSettings, TrainingStates
from recipes.states.folder import StateError, find_state, is_disk_full, newest_state, step_of
from recipes.states.signals import Interrupted, Signals

__all__ = [
    "Interrupted",
    "Signals",
    "StateError",
    "StateSettings",
    "TrainingStates",
    "find_state",
    "is_disk_full",
    "newest_state",
    "step_of",
]
