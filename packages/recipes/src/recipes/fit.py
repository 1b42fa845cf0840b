"""Train: `python -m recipes.fit --config uhd.yaml`."""

from recipes.cli import main
from recipes.training import FitCommand

if __name__ == "__main__":
    main(FitCommand, "fit")
