"""A figure of a run: the loss, and the validation scores."""

from collections.abc import Sequence
from pathlib import Path

from recipes.reports.figures import figure_of, write_figure
from recipes.run.rows import read_rows

LOSS, SCORE, BLANK = "train/loss", "val/anls", "blank/anls"
SMOOTHING = 0.1


def draw_loss_curve(metrics: Path, path: Path) -> Path | None:
    """Draw the training loss of a run, raw and smoothed, and below it the validations' ANLS.

    ANLS on blank pictures is drawn separately, dashed: it is what can be answered without seeing.

    Args:
        metrics: the run's `metrics.csv`, with a column `step`.
        path: PNG to write.

    Returns:
        `path`; None if no loss was recorded.
    """
    losses, scores, blank = (read_points(metrics, column) for column in (LOSS, SCORE, BLANK))
    if not losses:
        return None
    panels = 2 if scores else 1
    figure = figure_of(7, 2.5 + 1.5 * panels)
    axes = figure.subplots(panels, sharex=True, squeeze=False, height_ratios=[2, 1][:panels])[:, 0]
    steps, values = zip(*losses, strict=True)
    axes[0].plot(steps, values, color="#9ecae1", linewidth=0.8, label="as measured")
    axes[0].plot(steps, smoothed(values), color="#08519c", linewidth=1.8, label="smoothed")
    axes[0].set_ylabel("loss per supervised token (nats)")
    axes[0].set_ylim(bottom=0)
    if scores:
        axes[1].plot(*zip(*scores, strict=True), "o-", color="#1a7f37", markersize=4, label="validation")
        if blank:
            axes[1].plot(*zip(*blank, strict=True), "s--", color="#6e7781", markersize=4, label="blank pictures")
        axes[1].set_ylabel("ANLS")
        axes[1].set_ylim(-0.03, 1.03)
    for panel in axes:
        panel.grid(color="#eeeeee")
        panel.legend(frameon=False)
    axes[-1].set_xlabel("optimizer step")
    return write_figure(figure, path)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving averages with bias correction (as in Adam, arXiv 1412.6980, section 3)."""
    averages, total, weight = [], 0.0, 0.0
    for value in values:
        total += SMOOTHING * (value - total)
        weight += SMOOTHING * (1 - weight)
        averages.append(total / weight)
    return averages


def read_points(metrics: Path, column: str) -> list[tuple[int, float]]:
    """(step, value) of every row with a value in `column`."""
    if not metrics.is_file():
        return []
    return [(int(row["step"]), float(row[column])) for row in read_rows(metrics)[1] if row.get(column)]
