"""Score many answers, all together and one by one: `python -m tools.bench.metrics`.

The answers are short texts, a third of them wrong. One by one is what the page of an evaluation shows.
"""

import argparse
import random
import time
from dataclasses import dataclass
from typing import Any

from torchmetrics import Metric

from recipes.benchmarks.benchmark import Benchmark, Prompt
from recipes.benchmarks.item import Item
from recipes.benchmarks.pages import PageRecords
from recipes.evaluation.scoring import scores_of
from recipes.metrics import ANLS, Choice, ExactMatch, GqaAccuracy, OcrBench, Pope, RelaxedAccuracy, VqaAccuracy
from tools.bench.timing import machine

WORDS = ("total", "12.50", "blue car", "Corner Shop Ltd.", "the 3rd of May 2018", "yes", "no", "7", "it's a dog")
OPTIONS = ["red", "blue", "green", "none of these"]
HEAD = "| | items | CPU seconds |\n|---|---|---|"


@dataclass(frozen=True)
class Case:
    """A metric, and what it takes besides the answers."""

    metric: Metric
    update: dict[str, str]


CASES = {
    "ANLS": Case(ANLS(), {"references": "answers"}),
    "VqaAccuracy": Case(VqaAccuracy(), {"references": "ten"}),
    "RelaxedAccuracy": Case(RelaxedAccuracy(), {"references": "answers"}),
    "ExactMatch": Case(ExactMatch(), {"references": "answers"}),
    "GqaAccuracy": Case(GqaAccuracy(), {"references": "answers"}),
    "Choice": Case(Choice(), {"answers": "letter", "options": "options"}),
    "Pope": Case(Pope(), {"answers": "truth"}),
    "OcrBench": Case(OcrBench(), {"references": "answers", "datasets": "dataset"}),
}


def items(number: int) -> tuple[list[Item], dict[str, str]]:
    """Items with their answers."""
    drawn, found, answers = random.Random(0), [], {}
    for key in map(str, range(number)):
        right = drawn.choice(WORDS)
        values: dict[str, Any] = {"answers": [right, drawn.choice(WORDS)], "ten": [right] * 7 + ["other"] * 3}
        values |= {"letter": drawn.choice("ABCD"), "options": OPTIONS, "truth": drawn.choice(("yes", "no"))}
        found.append(Item(key, values | {"question": "?", "dataset": "IIIT5K"}))
        answers[key] = right if drawn.random() < 0.67 else drawn.choice(WORDS)
    return found, answers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few answers, to try the command")
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    found, answers = items(100 if options.tiny else options.items)
    print(f"{machine()}\n\n{HEAD}")
    prompts = {"llava": Prompt("{question}")}
    for name, case in CASES.items():
        asked = Benchmark("", "", PageRecords(1), prompts, case.metric, case.update)  # type: ignore[arg-type]
        start = time.process_time()
        scores_of(asked, found, answers)
        print(f"| {name} | {len(found)} | {time.process_time() - start:.1f} |")


if __name__ == "__main__":
    main()
