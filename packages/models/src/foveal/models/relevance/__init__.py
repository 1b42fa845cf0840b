"""Relevance maps: which parts of a picture made the model write a word."""
