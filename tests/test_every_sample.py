"""Every sample is trained on once per epoch, on any number of ranks, with workers, accumulated, and resumed."""

import pytest
from tests.fitting import SEEN, SMALL, once_an_epoch, seen

SIZES = [(9, 1), (11, 2), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((8, 1), (8, 2), (9, 4)))]
"""Numbers of pages, and of accumulated batches of two; with sizes that divide evenly and that don't."""
RESUMED = [
    (11, 2, True),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in ((8, 1, False), (9, 1, False), (11, 2, False))),
]


@pytest.mark.parametrize(("pages", "accumulation"), SIZES)
def test_one_process(fit, tmp_path, pages, accumulation):
    several = (f"--data.pages={pages}", f"--trainer.accumulate_grad_batches={accumulation}")
    assert fit(*SMALL, *SEEN, *several) == 0
    assert seen(tmp_path) == once_an_epoch(pages, 3)


@pytest.mark.parametrize(("pages", "accumulation", "inside"), RESUMED)
def test_resumed_in_every_epoch(fit, tmp_path, pages, accumulation, inside):
    several = (f"--data.pages={pages}", f"--trainer.accumulate_grad_batches={accumulation}", "--run=run")
    each = -(-pages // (2 * accumulation))
    resume = ()
    for epoch in range(3):
        stop = (f"--trainer.callbacks.stop_at=[{epoch * each + 1}]", f"--trainer.callbacks.inside={inside}")
        assert fit(*SMALL, *SEEN, *stop, *several, *resume) == 143
        resume = ("--ckpt_path=last",)
    assert fit(*SMALL, *SEEN, *several, *resume) == 0
    assert seen(tmp_path) == once_an_epoch(pages, 3)
