"""Measure: `python -m recipes.validate --config uhd.yaml --checkpoint FOLDER`."""

import sys

from recipes.arguments import prepare
from recipes.cli import run
from recipes.training import ValidateCommand

if __name__ == "__main__":
    run(ValidateCommand, "validate", prepare(sys.argv[1:]))
