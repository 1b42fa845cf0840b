"""Score many answers, all together and one by one: `python -m tools.bench.metrics`.

A third of the answers is wrong. Most are short; of records, captions and pages there are fewer, as in benchmarks.
One by one is what the page of an evaluation shows.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass
from typing import Any

from torchmetrics import Metric

from foveal.core import Box, Size
from recipes.benchmarks.benchmark import Benchmark, Prompt
from recipes.benchmarks.item import Item
from recipes.benchmarks.pages import PageRecords
from recipes.evaluation.scoring import scores_of
from recipes.metrics import (
    ANLS,
    Choice,
    CiderD,
    CircularChoice,
    ExactMatch,
    GqaAccuracy,
    GroundingAccuracy,
    KeyInformation,
    Mme,
    OcrBench,
    PageOcr,
    PageText,
    Pope,
    RelaxedAccuracy,
    VqaAccuracy,
)
from tools.bench.timing import machine

WORDS = ("total", "12.50", "blue car", "Corner Shop Ltd.", "the 3rd of May 2018", "yes", "no", "7", "it's a dog")
OPTIONS = ["red", "blue", "green", "none of these"]
HEAD = "| | items | CPU seconds |\n|---|---|---|"


@dataclass(frozen=True)
class Case:
    """A metric, what it takes besides the answers, and which answers those are.

    Attributes:
        metric: the metric.
        update: names of its arguments, with those of the items' values.
        said: the kind of the answers, among those of `items`.
        share: of the number of items; long answers are fewer.
    """

    metric: Metric
    update: dict[str, str]
    said: str = "word"
    share: float = 1.0


CASES = {
    "ANLS": Case(ANLS(), {"references": "answers"}),
    "VqaAccuracy": Case(VqaAccuracy(), {"references": "ten"}),
    "RelaxedAccuracy": Case(RelaxedAccuracy(), {"references": "answers"}),
    "ExactMatch": Case(ExactMatch(), {"references": "answers"}),
    "GqaAccuracy": Case(GqaAccuracy(), {"references": "answers"}),
    "Choice": Case(Choice(), {"answers": "letter", "options": "options"}),
    "CircularChoice": Case(CircularChoice(), {"answers": "letter", "options": "options", "indices": "index"}),
    "Pope": Case(Pope(), {"answers": "truth"}),
    "Mme": Case(Mme(), {"answers": "truth", "subtasks": "subtask", "pictures": "picture"}),
    "OcrBench": Case(OcrBench(), {"references": "answers", "datasets": "dataset"}),
    "GroundingAccuracy": Case(GroundingAccuracy("unit"), {"boxes": "box", "sizes": "size"}, "box"),
    "CiderD": Case(CiderD(), {"references": "captions"}, "caption", share=0.1),
    "KeyInformation": Case(KeyInformation(), {"answers": "record"}, "record", share=0.1),
    "PageOcr": Case(PageOcr(), {"references": "pages"}, "page", share=0.01),
    "PageText": Case(PageText(), {"references": "page"}, "page", share=0.01),
}


def items(number: int) -> tuple[list[Item], dict[str, dict[str, str]]]:
    """Items, and answers to them of several kinds."""
    drawn, found = random.Random(0), []
    papers = [text(drawn, 200) for _ in range(100)]
    said: dict[str, dict[str, str]] = {kind: {} for kind in ("word", "box", "caption", "record", "page")}
    for place in range(number):
        key, right, captions = str(place), drawn.choice(WORDS), [text(drawn, 10) for _ in range(5)]
        left, top, record, page = drawn.randrange(50), drawn.randrange(50), fields(drawn), drawn.choice(papers)
        values: dict[str, Any] = {"answers": [right, drawn.choice(WORDS)], "ten": [right] * 7 + ["other"] * 3}
        values |= {"letter": drawn.choice("ABCD"), "options": OPTIONS, "truth": drawn.choice(("yes", "no"))}
        values |= {"index": place, "subtask": "OCR", "picture": str(place // 2), "captions": captions, "page": page}
        values |= {
            "box": Box(left, top, left + 50, top + 50),
            "size": Size(100, 100),
            "record": record,
            "pages": [page],
        }
        found.append(Item(key, values | {"question": "?", "dataset": "IIIT5K"}))
        is_right = drawn.random() < 0.67
        said["word"][key] = right if is_right else drawn.choice(WORDS)
        said["box"][key] = f"[{left / 100}, {top / 100}, {left / 100 + 0.5}, 0.9]" if is_right else "[0, 0, 0.1, 0.1]"
        said["caption"][key] = captions[0] if is_right else text(drawn, 10)
        said["record"][key] = json.dumps(record if is_right else fields(drawn))
        said["page"][key] = page if is_right else page[:500]
    return found, said


def text(drawn: random.Random, words: int) -> str:
    """A text of a vocabulary of a thousand words."""
    return " ".join(f"word{drawn.randrange(1000)}" for _ in range(words))


def fields(drawn: random.Random) -> dict[str, str]:
    """What a receipt is asked for."""
    return {name: text(drawn, 3) for name in ("company", "date", "address", "total")}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="few answers, to try the command")
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    number = 100 if options.tiny else options.items
    found, said = items(number)
    print(f"{machine()}\n\n{HEAD}")
    prompts = {"llava": Prompt("{question}")}
    for name, case in CASES.items():
        asked = Benchmark("", "", PageRecords(1), prompts, case.metric, case.update)  # type: ignore[arg-type]
        some = found[: max(1, round(number * case.share))]
        start = time.process_time()
        scores_of(asked, some, said[case.said])
        print(f"| {name} | {len(some)} | {time.process_time() - start:.1f} |", flush=True)


if __name__ == "__main__":
    main()
