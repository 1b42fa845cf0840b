"""Measure: `python -m recipes.validate --config uhd.yaml --checkpoint FOLDER`."""

from recipes.command_line.entry import main

if __name__ == "__main__":
    main("validate")
