"""The schedule of the learning rate."""

import math

import pytest

from recipes.module import warmup_cosine


def test_schedule_of_the_published_run():
    warmup_steps = math.ceil(0.03 * 5198)
    assert warmup_steps == 156

    def share(step):
        return warmup_cosine(step, warmup_steps, 5198)

    assert share(0) == 0
    assert 2e-5 * share(22) == pytest.approx(2.82e-6, rel=1e-3)
    assert share(156) == 1
    assert share(156 + (5198 - 156) // 2) == pytest.approx(0.5)
    assert share(5198) == pytest.approx(0)
