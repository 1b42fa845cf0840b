"""Measure: `python -m recipes.validate --config uhd.yaml --checkpoint FOLDER`."""

from recipes.cli import main
from recipes.training import ValidateCommand

if __name__ == "__main__":
    main(ValidateCommand, "validate")
