"""Training states: everything a run needs to resume exactly where it was, on any number of ranks."""

from recipes.states.callback import TrainingStates
from recipes.states.folder import StateError, find_state, newest_state, step_of
from recipes.states.settings import StateSettings
from recipes.states.signals import Interrupted, Signals
from recipes.states.writing import is_disk_full

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
