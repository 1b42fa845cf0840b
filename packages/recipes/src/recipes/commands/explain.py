"""The `explain` command: figures and numbers of what made a model write its answer."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foveal.core import Box
from foveal.models import Explanation, explain
from recipes.answering.model import opened
from recipes.command_line.console import calm, interrupts_end, short_errors
from recipes.reading.pictures import picture_at, picture_size, read_picture
from recipes.reports.relevance import WORDS, draw_answer, draw_queries, draw_tokens, draw_words
from recipes.reports.relevance_numbers import numbers_of


def main(options: argparse.Namespace) -> None:
    """Explain the answer.

    Args:
        options: as `explain_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input, with 130 on an interrupt.
    """
    calm()
    with interrupts_end(), short_errors():
        _explain(options)


def _explain(options: argparse.Namespace) -> None:
    sources = [picture_at(path) for path in options.image]
    pictures = [read_picture(source) for source in sources]
    model = opened(options, [picture_size(source) for source in sources], options.question)
    explained = explain(
        model, pictures, options.question, options.answer, each=options.each, max_new_tokens=options.max_new_tokens
    )
    box = None if options.box is None else Box(*options.box)
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [
        draw_answer(pictures, explained, box, folder / "answer.png"),
        draw_words(pictures, explained, box, folder / "words.png"),
        draw_tokens(explained, folder / "tokens.png"),
        draw_queries(explained, folder / "queries.png"),
    ]
    numbers = numbers_of(explained, box)
    written = folder / "explain.json"
    written.write_text(json.dumps(numbers, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _print(explained, numbers)
    if len(explained.per_word) > WORDS:
        print(f"{drawn[1]} shows the first {WORDS} of {len(explained.per_word)} words")
    print("drawn: " + ", ".join(str(path) for path in (*drawn, written) if path is not None))


def _print(explained: Explanation, numbers: dict[str, Any]) -> None:
    print(f"answer: {explained.answer}")
    several, boxed = len(explained.sizes) > 1, numbers["box"] is not None
    table = Table("word", *(["picture"] if several else []), "peak x", "peak y", *(["in box"] if boxed else []))
    for each in ({"word": "(whole answer)", **numbers["whole_answer"]}, *numbers["words"]):
        place = each["peak"]
        cells = ["-", "-", "-"]
        if place is not None:
            cells = [str(place["picture"] + 1), f"{place['x']:.0f}", f"{place['y']:.0f}"]
        shares = [f"{each['in_box']:.1%}"] if boxed else []
        table.add_row(Text(each["word"]), *(cells if several else cells[1:]), *shares)
    Console().print(table)
    if numbers["whole_answer"]["peak"] is None:
        print("nothing of the picture is relevant: the answer does not depend on it")
    if boxed:
        print(f"the box is {numbers['box_area']:.1%} of the picture")
    how = "by its rule" if explained.by_rules else "by gradients, as it does not say which patches its tokens come from"
    print(f"through the {explained.connector}: {how}")
    first = numbers["query_to_patch"][0]
    print(
        f"first views: {first['tokens']} tokens of {first['patches']} patches, duplicates {first['duplicates']:.1%}, "
        f"coverage {first['coverage']:.0%}, effective queries {first['effective_queries']:.1f}"
    )
