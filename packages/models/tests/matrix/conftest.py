import pytest
import torch
from packages.models.tests.matrix.workshop import Workshop


@pytest.fixture(scope="module")
def workshop():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Workshop()
