"""The figure of a run's curves."""

import pytest
from PIL import Image

from recipes.run.loss_curve import draw_loss_curve, read_points, smoothed
from recipes.run.metrics_csv import MetricsCsv


def test_smoothing_has_no_bias_to_the_beginning():
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([10.0, 0.0]) == pytest.approx([10.0, 10 * 0.09 / 0.19])  # weights 0.09 and 0.1
    assert smoothed([]) == []


def test_points_and_picture(tmp_path):
    logger = MetricsCsv(tmp_path)
    assert draw_loss_curve(logger.path, tmp_path / "loss.png") is None
    logger.log_metrics({"val/anls": 0.0, "epoch": 0}, step=0)
    assert draw_loss_curve(logger.path, tmp_path / "loss.png") is None
    for step in range(0, 100, 10):
        logger.log_metrics({"train/loss": 3 - step / 50, "epoch": 0}, step=step)
    heights = []
    assert draw_loss_curve(logger.path, tmp_path / "loss.png") == tmp_path / "loss.png"
    logger.log_metrics({"val/anls": 0.75, "epoch": 0}, step=99)
    logger.log_metrics({"blank/anls": 0.1, "epoch": 0}, step=99)
    assert read_points(logger.path, "val/anls") == [(0, 0.0), (99, 0.75)]
    draw_loss_curve(logger.path, tmp_path / "loss.png")
    with Image.open(tmp_path / "loss.png") as picture:
        heights.append(picture.height)
    assert heights[0] > 500
