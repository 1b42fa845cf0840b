"""Every combination with plans of tiles. Each family has a file, which a worker of its own can take."""

import pytest
from packages.models.tests.matrix.everything import check_everything
from packages.models.tests.matrix.plans import TILES


@pytest.mark.slow
@pytest.mark.parametrize("plan", TILES)
def test_everything(workshop, plan):
    check_everything(workshop, plan)
