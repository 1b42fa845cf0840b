"""The numbers and answers of a chart as JSON."""

import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from foveal.core import Size
from recipes.acuity_chart.psychometric import COVERED, Estimate
from recipes.acuity_chart.reading import Chart, Reading
from recipes.acuity_chart.scores import Answered, Tally, by, by_place, by_seam, by_tokens, cells_of
from recipes.comparison.acuity import FORMAT


def write_results(chart: Chart, readings: Sequence[Reading], path: Path) -> Path:
    """Write everything that was measured.

    Args:
        chart: what was read.
        readings: of all models.
        path: JSON to write.
    """
    settings = chart.settings
    content = {
        "format": FORMAT,
        "versions": {name: version(name) for name in ("foveal-recipes", "pillow", "matplotlib", "transformers")},
        "alphabet": settings.alphabet,
        "characters": settings.characters,
        "sizes": [str(size) for size in settings.sizes],
        "fonts": list(settings.fonts),
        "contrasts": list(settings.contrasts),
        "heights": list(chart.heights),
        "pages": chart.pages,
        "seed": chart.seed,
        "interval": COVERED,
        "models": [_model(chart, each) for each in readings],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_answers(readings: Sequence[Reading], path: Path) -> Path:
    """Write every answer of all models, one line of JSON each.

    Args:
        readings: of all models.
        path: JSONL to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for reading in readings:
            for each in reading.results:
                stream.write(json.dumps({"model": reading.name} | _answer(each), ensure_ascii=False) + "\n")
    return path


def said(estimate: Estimate, chart: Chart) -> str:
    """A height and its interval in words: `at 5.9 px (5.7 to 6.1)`, `above 9 px`, `at 5.9 px (below 3 to 6.1)`."""
    if math.isinf(estimate.value):
        return f"{_side(estimate.value, chart)} px"
    return f"at {estimate.value:.1f} px ({_side(estimate.low, chart)} to {_side(estimate.high, chart)})"


def _side(value: float, chart: Chart) -> str:
    if math.isinf(value):
        return f"above {chart.heights[0]:g}" if value > 0 else f"below {chart.heights[-1]:g}"
    return f"{value:.1f}"


def _model(chart: Chart, reading: Reading) -> dict[str, Any]:
    results, fit = reading.results, reading.fit
    per_token = by_tokens(results, reading.tokens)
    sizes, seam = by(results, lambda each: each.page.size), by_seam(results)
    return {
        "model": reading.name,
        "way": reading.way,
        "question": reading.question,
        "charted": fit is not None,
        "chance": fit and fit.curve.chance,
        "curve": fit and {name: getattr(fit.curve, name) for name in ("middle", "slope", "lapse")},
        "smallest": fit and {f"{share:g}": _estimate(each) for share, each in fit.smallest.items()},
        "by_height": [
            {"height": height, **_tally(tally)}
            | ({} if fit is None else {"low": fit.accuracies[place].low, "high": fit.accuracies[place].high})
            for place, (height, tally) in enumerate(reading.heights.items())
        ],
        "by_font": {font: _tally(tally) for font, tally in by(results, lambda each: each.page.font).items()},
        "by_contrast": {
            f"{contrast:g}": _tally(tally) for contrast, tally in by(results, lambda each: each.page.contrast).items()
        },
        "by_size": {
            str(size): _tally(sizes[size])
            | {"visual_tokens": reading.tokens[size], "read_per_visual_token": per_token[size]}
            for size in chart.settings.sizes
            if size in sizes
        },
        "by_seam": None if seam is None else {"across": _tally(seam.across), "beside": seam.beside},
        "by_place": [_places(reading, size) for size in chart.settings.sizes if size in sizes],
    }


def _places(reading: Reading, size: Size) -> dict[str, Any]:
    cells = by_place(reading.results, size, cells_of(reading.results, size))
    seams = reading.seams[size]
    return {
        "size": str(size),
        "read": [[tally.read for tally in row] for row in cells],
        "shown": [[tally.shown for tally in row] for row in cells],
        "seams": None
        if seams is None
        else [{"upright": each.upright, "at": each.at, "start": each.start, "end": each.end} for each in seams],
    }


def _answer(each: Answered) -> dict[str, Any]:
    page = each.page
    return {
        "height": page.height,
        "size": str(page.size),
        "font": page.font,
        "contrast": page.contrast,
        "text": page.text,
        "answer": each.answer,
        "read": "".join(character if flag else "-" for character, flag in zip(page.text, each.read, strict=True)),
        "boxes": [[round(side, 3) for side in box] for box in page.boxes],
        "across_seams": list(each.across),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {"read": tally.read, "shown": tally.shown, "accuracy": tally.accuracy}


def _estimate(each: Estimate) -> dict[str, Any]:
    """null: beyond the heights that were tested, on the side that `beyond` names; JSON has no infinity."""
    values = {"height": each.value, "low": each.low, "high": each.high}
    beyond = None if math.isfinite(each.value) else "above" if each.value > 0 else "below"
    return {name: value if math.isfinite(value) else None for name, value in values.items()} | {"beyond": beyond}
