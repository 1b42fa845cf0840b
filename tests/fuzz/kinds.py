"""What is read, and how many inputs of it."""

from tests.fuzz.data import conversations, pictures
from tests.fuzz.folders import configurations, models, states

KINDS = {
    "pictures": (pictures, 1800),
    "conversations": (conversations, 550),
    "models": (models, 250),
    "states": (states, 250),
    "configurations": (configurations, 150),
}
