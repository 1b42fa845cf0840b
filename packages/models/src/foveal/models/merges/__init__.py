"""Merges: join the visual tokens of several views into the input of the language model."""
