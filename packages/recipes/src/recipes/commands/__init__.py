"""The implementations of the commands; `python -m recipes.NAME` runs each."""
