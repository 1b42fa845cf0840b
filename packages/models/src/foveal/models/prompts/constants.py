"""Ids in sequences that are not tokens."""

IMAGE_TOKEN_ID = -200
"""A placeholder that a visual token is written over."""

IGNORE_INDEX = -100
"""The label of an unsupervised token."""
