"""The time of imports beyond torch's, and of `--help` beyond Lightning's: `python -m tools.bench.imports`."""

import argparse
import subprocess
import sys
from functools import partial

from tools.bench.timing import fastest, machine

ROUNDS = 3
STARTS = {
    "import torch": ("-c", "import torch"),
    "import lightning.pytorch": ("-c", "import lightning.pytorch"),
    "import foveal.core": ("-c", "import foveal.core"),
    "import foveal.encoders": ("-c", "import foveal.encoders"),
    "import foveal.connectors": ("-c", "import foveal.connectors"),
    "import foveal.models": ("-c", "import foveal.models"),
    "python -m recipes.predict --help": ("-m", "recipes.predict", "--help"),
    "python -m recipes.fit --help all": ("-m", "recipes.fit", "--help", "all"),
}


def start(arguments: tuple[str, ...]) -> None:
    """Start the interpreter and wait for it."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tiny", action="store_true", help="a bare interpreter each time, to check that everything runs"
    )
    tiny = parser.parse_args().tiny
    starts, rounds = (dict.fromkeys(STARTS, ("-c", "")), 1) if tiny else (STARTS, ROUNDS)
    print(machine())
    seconds = fastest({name: partial(start, arguments) for name, arguments in starts.items()}, rounds=rounds)
    print(f"\na new process each, files in the cache, best of {rounds}, taking turns\n")
    print("| | seconds | more than torch | more than Lightning |\n|---|---|---|---|")
    for name, spent in seconds.items():
        over_torch = spent - seconds["import torch"]
        over_lightning = spent - seconds["import lightning.pytorch"]
        print(f"| `{name}` | {spent:.2f} | {over_torch:+.2f} | {over_lightning:+.2f} |")


if __name__ == "__main__":
    main()
