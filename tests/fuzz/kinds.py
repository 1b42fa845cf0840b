"""What is read, and how many inputs of it."""

from tests.fuzz.containers import containers
from tests.fuzz.data import conversations, pictures
from tests.fuzz.folders import configurations, models, states

KINDS = {
    "pictures": (pictures, 1300),
    "conversations": (conversations, 550),
    "containers": (containers, 500),
    "models": (models, 250),
    "states": (states, 250),
    "configurations": (configurations, 150),
}
