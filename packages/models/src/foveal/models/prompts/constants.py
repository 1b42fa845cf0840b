"""Numbers that stand in sequences for something else than a token."""

IMAGE_TOKEN_ID = -200
"""A place over which a visual token is written."""

IGNORE_INDEX = -100
"""A label that is not learnt."""
