"""The results as a figure: a row for every arm, a dot for every seed."""

from pathlib import Path
from statistics import mean

from recipes.reports.figures import figure_of, write_figure
from tools.study.arms import ARMS, BASELINE, QUESTIONS
from tools.study.table import Row

DOT, LINE, GREY = "#0969da", "#08519c", "#6e7781"


def draw_chart(rows: dict[str, Row], path: Path) -> Path:
    """Draw ANLS of every arm, one panel for each question, the best arm on top.

    Args:
        rows: the arms to draw, by name.
        path: PNG to write.

    Returns:
        `path`.
    """
    drawn_of = {question: [rows[name] for name in arms if name in rows] for question, arms in QUESTIONS.items()}
    panels = [(question, drawn) for question, drawn in drawn_of.items() if drawn]
    heights = [len(drawn) for _, drawn in panels]
    figure = figure_of(8, 1.2 + 0.8 * len(panels) + 0.32 * sum(heights))
    axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=[each + 0.5 for each in heights])
    for panel, (question, drawn) in zip(axes[:, 0], panels, strict=True):
        drawn = sorted(drawn, key=_mean)
        for place, row in enumerate(drawn):
            values = list(row.final.values())
            panel.plot(values, [place] * len(values), "o", color=DOT, markersize=5, alpha=0.6)
            panel.plot([_mean(row)] * 2, [place - 0.3, place + 0.3], color=LINE, linewidth=2)
        if BASELINE in rows:
            panel.axvline(_mean(rows[BASELINE]), color=GREY, linestyle="--", linewidth=1)
        panel.set_yticks(range(len(drawn)), [ARMS[row.name].title for row in drawn])
        panel.set_ylim(-0.6, len(drawn) - 0.4)
        panel.set_title(question, loc="left", fontsize=10)
        panel.grid(axis="x", color="#eeeeee")
    axes[-1, 0].set_xlim(0, 1)
    axes[-1, 0].set_xlabel("ANLS: dots are seeds, bars their mean; dashed: LLaVA-1.5 with 64 tokens")
    return write_figure(figure, path)


def _mean(row: Row) -> float:
    return mean(row.final.values())
