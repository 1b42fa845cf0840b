"""Train: `python -m recipes.fit --config uhd.yaml`."""

from recipes.command_line.entry import main

if __name__ == "__main__":
    main("fit")
