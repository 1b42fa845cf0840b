"""Train: `python -m recipes.fit --config uhd.yaml`."""

import sys

from recipes.arguments import prepare
from recipes.cli import run
from recipes.training import FitCommand

if __name__ == "__main__":
    run(FitCommand, "fit", prepare(sys.argv[1:]))
