"""A picture of the loss."""

import csv
from pathlib import Path


def draw_loss_curve(metrics: Path, path: Path) -> Path | None:
    """Draw the training loss of a run, as it was and smoothed; None: nothing was recorded.

    Args:
        metrics: the CSV logger's file, with columns `step` and `train/loss`.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    points = read_losses(metrics)
    if not points:
        return None
    steps, losses = zip(*points, strict=True)
    smooth, value = [], losses[0]
    for loss in losses:
        value += 0.1 * (loss - value)
        smooth.append(value)
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="as measured")
    axes.plot(steps, smooth, color="#08519c", linewidth=1.8, label="smoothed")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss per supervised token (nats)")
    axes.set_ylim(bottom=0)
    axes.grid(color="#eeeeee")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    return path


def read_losses(metrics: Path) -> list[tuple[int, float]]:
    """(step, loss) of every row that has a training loss."""
    if not metrics.is_file():
        return []
    with metrics.open(encoding="utf-8", newline="") as stream:
        return [(int(row["step"]), float(row["train/loss"])) for row in csv.DictReader(stream) if row.get("train/loss")]
