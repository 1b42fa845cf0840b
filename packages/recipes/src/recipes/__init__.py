"""Train, validate and ask vision-language models from the command line: `python -m recipes.fit --config uhd.yaml`."""

from importlib.metadata import version

__version__ = version("foveal-recipes")
"""Of the installed package."""
