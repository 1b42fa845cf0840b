"""Fits or not, before loading: `python -m recipes.cost --config uhd.yaml --config uhd/13b.yaml --image 1000x3000`."""

from recipes.cli import main
from recipes.cost_table import CostCommand

if __name__ == "__main__":
    main(CostCommand, "fit")
