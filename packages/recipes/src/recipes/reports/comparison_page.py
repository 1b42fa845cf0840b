"""The page of a comparison: curves, scores, differences of settings and sheets of runs."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image as Pillow

from recipes.comparison.acuity import Acuity
from recipes.comparison.curves import ASIDE, Curve, grouped, thinned
from recipes.comparison.evaluations import TOLD, Evaluation, differing
from recipes.comparison.run import ComparedRun
from recipes.comparison.settings import differences
from recipes.reports.html.chart import Line, draw_chart, run_class
from recipes.reports.html.document import new_page, text
from recipes.run.loss_curve import smoothed

LARGEST = (2600, 16_000)
"""Largest width and height of an embedded figure in pixels; WebP has a limit."""
NOTHING = "–"
FEW = 60
"""Most points of a curve that are marked one by one."""


def write_comparison(runs: Sequence[ComparedRun], path: Path) -> None:
    """Write one page, which needs nothing else; a section is left out if no run has anything for it.

    Args:
        runs: at least one.
        path: HTML file to write; it is complete, or not there.

    Raises:
        OSError: if the page cannot be written.
    """
    with new_page(path, title="Runs compared", script="comparison.js") as stream:
        stream.write(_legend(runs))
        for section in (_scores, _acuity, _last_values, _curves, _settings, _pictures):
            stream.writelines(section(runs))


def _legend(runs: Sequence[ComparedRun]) -> str:
    entries = (
        f'<li class="{run_class(number)}"><label><input type="checkbox" value="{number}" checked disabled>'
        f'<svg viewBox="0 0 28 8" aria-hidden="true"><polyline class="{run_class(number)}" points="0,4 28,4"/></svg>'
        f"<bdi>{text(run.name)}</bdi></label></li>\n"
        for number, run in enumerate(runs)
    )
    legend = f'<ul class="legend" aria-label="Runs that are shown">\n{"".join(entries)}</ul>\n'
    if names := [run.name for run in runs if run.only_settings]:
        legend += f"<p>Nothing logged yet, only settings: {text(', '.join(names))}</p>\n"
    return legend


def _scores(runs: Sequence[ComparedRun]) -> Iterator[str]:
    """A table for every benchmark and split."""
    found: dict[tuple[str, str], list[tuple[str, Evaluation]]] = {}
    for run in runs:
        for each in run.evaluations:
            found.setdefault((each.benchmark, each.split), []).append((run.name, each))
    if found:
        yield "<h2>Scores</h2>\n"
    for (benchmark, split), columns in found.items():
        owners, flat = [name for name, _ in columns], [each for _, each in columns]
        names = list(dict.fromkeys(name for each in flat for name in each.scores))
        rows = {name: [_figure(each.scores.get(name)) for each in flat] for name in names}
        rows |= {name: [str(each.counts[name]) for each in flat] for name in ("items", "missing", "unparsed")}
        heads = [name if owners.count(name) == 1 else f"{name}: {each.path.parent}" for name, each in columns]
        yield _table(f"{benchmark}, {split}", heads, rows)
        if apart := differing(flat):
            yield f'<p class="wrong">Not comparable: {text(_told(apart))}</p>\n'
        if apart := differing(flat, TOLD):
            yield f"<p>Not the same: {text(_told(apart))}</p>\n"


def _told(apart: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{name}: {' | '.join(f'{value:.60}' for value in values)}" for name, values in apart.items())


def _acuity(runs: Sequence[ComparedRun]) -> Iterator[str]:
    """A table for all eye tests on the same pages."""
    found: dict[str, list[tuple[str, Acuity]]] = {}
    for run in runs:
        for each in run.acuity:
            found.setdefault(each.pages, []).append((run.name, each))
    if found:
        yield "<h2>Smallest characters read</h2>\n"
    for pages, tests in found.items():
        shares = list(dict.fromkeys(share for _, each in tests for share in each.smallest))
        heads = [f"{share:.0%} of characters" for share in shares]
        rows = {
            f"{name}: {each.model}": [each.smallest.get(share, "not charted") for share in shares]
            for name, each in tests
        }
        yield _table(pages, heads, rows)


def _last_values(runs: Sequence[ComparedRun]) -> Iterator[str]:
    """Validation, controls and loss at the end of the logs."""
    groups = grouped(_columns(runs))
    names = [name for group, inside in groups.items() if group not in ASIDE for name in inside]
    if names:
        yield "<h2>At the end</h2>\n"
        rows = {name: [_last(run.curves.get(name)) for run in runs] for name in names}
        yield _table("last value of every curve, and its step", [run.name for run in runs], rows)


def _last(curve: Curve | None) -> str:
    if curve is None or not curve.points:
        return NOTHING
    step, value = curve.points[-1]
    return f"{_figure(value)} at {step:,.0f}"


def _curves(runs: Sequence[ComparedRun]) -> Iterator[str]:
    for group, names in grouped(_columns(runs)).items():
        # What is looked up, not compared, is folded up.
        yield f"<details><summary>{text(group)}</summary>\n" if group in ASIDE else f"<h2>{text(group)}</h2>\n"
        yield '<div class="charts">\n'
        for name in names:
            lines = [line for number, run in enumerate(runs) for line in _lines(number, run, name)]
            if lines:
                yield draw_chart(name, lines, across="optimizer step")
            for run in runs:
                if (curve := run.curves.get(name)) is not None and curve.left_out:
                    said = f"{run.name}, {name}: {curve.left_out} values are not finite, or too large"
                    yield f'<p class="wrong">{text(said)}</p>\n'
        yield "</div></details>\n" if group in ASIDE else "</div>\n"
    if any(len(curve.points) > FEW for run in runs for curve in run.curves.values()):
        yield '<p class="quiet">Long curves are drawn smoothed, with means of neighbouring values behind them.</p>\n'


def _lines(number: int, run: ComparedRun, name: str) -> Iterator[Line]:
    """The curve of a run; of a long one a smoothed one in front of what was measured."""
    curve = run.curves.get(name)
    if curve is None or not curve.points:
        return
    if len(curve.points) <= FEW:
        yield Line(number, run.name, curve.points, marked=True)
        return
    steps, values = zip(*curve.points, strict=True)
    yield Line(number, run.name, thinned(curve.points), faint=True)
    yield Line(number, run.name, thinned(list(zip(steps, smoothed(values), strict=True))))


def _columns(runs: Sequence[ComparedRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.curves))


def _settings(runs: Sequence[ComparedRun]) -> Iterator[str]:
    if not any(run.settings for run in runs):
        return
    table, same = differences([run.settings for run in runs])
    yield "<h2>Settings that differ</h2>\n"
    if table:
        rows = {name: [NOTHING if value is None else value for value in values] for name, values in table.items()}
        yield _table(f"{same} other settings are the same", [run.name for run in runs], rows)
    else:
        yield f"<p>None of {same}.</p>\n"
    if without := [run.name for run in runs if run.settings is None]:
        yield f"<p>Without a configuration: {text(', '.join(without))}</p>\n"


def _pictures(runs: Sequence[ComparedRun]) -> Iterator[str]:
    for name in dict.fromkeys(name for run in runs for name in run.pictures):
        yield f'<h2>{text(name)}</h2>\n<div class="sheets">\n'
        for run in runs:
            if name in run.pictures:
                yield f"<figure><figcaption><bdi>{text(run.name)}</bdi></figcaption>\n"
                yield f"{_embedded(run.pictures[name], f'{name} of {run.name}')}</figure>\n"
        yield "</div>\n"


def _embedded(path: Path, description: str) -> str:
    try:
        with Pillow.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Pillow.DecompressionBombError) as error:
        return f'<p class="wrong">{text(f"{path} cannot be read ({error})")}</p>\n'
    picture.thumbnail(LARGEST)
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=75)
    source = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<button type="button" class="picture"><img src="data:image/webp;base64,{source}" '
        f'alt="{text(description)}"></button>\n'
    )


def _table(caption: str, heads: Sequence[str], rows: Mapping[str, Iterable[str]]) -> str:
    head = "".join(f'<th scope="col"><bdi>{text(each)}</bdi></th>' for each in heads)
    body = "".join(
        # Names of settings are long, and are broken at their dots.
        f'<tr><th scope="row"><bdi>{text(name).replace(".", ".<wbr>")}</bdi></th>'
        f"{''.join(f'<td><bdi>{text(value)}</bdi></td>' for value in values)}</tr>\n"
        for name, values in rows.items()
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{text(caption)}"><table>\n'
        f"<caption>{text(caption)}</caption>\n<tr><td></td>{head}</tr>\n{body}</table></div>\n"
    )


def _figure(value: float | None) -> str:
    if value is None:
        return NOTHING
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"
