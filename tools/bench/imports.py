"""What an import costs over torch, and `--help` over Lightning: `python -m tools.bench.imports`."""

import subprocess
import sys
import time

from tools.bench.timing import machine

ROUNDS = 5


def seconds(*arguments: str) -> float:
    """The fastest of several starts of the interpreter."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Print the table."""
    print(machine())
    torch = seconds("-c", "import torch")
    lightning = seconds("-c", "import lightning.pytorch")
    print(
        f"\n`import torch` {torch:.2f} s, `import lightning.pytorch` {lightning:.2f} s; warm file cache, "
        f"best of {ROUNDS}\n"
    )
    print("| | seconds more | than |\n|---|---|---|")
    for name in ("core", "encoders", "connectors", "models"):
        print(f"| `import foveal.{name}` | {seconds('-c', f'import foveal.{name}') - torch:.2f} | torch |")
    print(f"| `import recipes` | {seconds('-c', 'import torch, recipes') - torch:.2f} | torch |")
    print(f"| `python -m recipes.fit --help` | {seconds('-m', 'recipes.fit', '--help') - lightning:.2f} | Lightning |")
    print(f"| `python -m recipes.predict --help` | {seconds('-m', 'recipes.predict', '--help') - torch:.2f} | torch |")


if __name__ == "__main__":
    main()
