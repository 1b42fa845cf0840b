"""Measure: `python -m recipes.validate --config uhd.yaml --checkpoint FOLDER`."""

from recipes.entry import main

if __name__ == "__main__":
    main("validate")
