"""Every combination with plans of views seen together. Each family has a file, which a worker of its own can take."""

import pytest
from packages.models.tests.matrix.everything import check_everything
from packages.models.tests.matrix.plans import SEEN_TOGETHER


@pytest.mark.slow
@pytest.mark.parametrize("plan", SEEN_TOGETHER)
def test_everything(workshop, plan):
    check_everything(workshop, plan)
