"""Metrics of answers against values computed by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.metrics import ANLS, CharacterErrorRate, ExactMatch


@pytest.mark.parametrize(
    ("prediction", "accepted", "score"),
    [
        ("10.60", ["10.60"], 1.0),
        ("10.6O", ["10.60"], 0.8),
        ("TOTAL  due", ["total due"], 1.0),
        ("abcd", ["wxyz"], 0.0),
        ("ab", ["abcd"], 0.5),
        ("a", ["abcd"], 0.0),  # 0.25 is below the threshold
        ("abcx", ["wxyz", "abcd"], 0.75),
        ("", ["a"], 0.0),
        ("the  cat", ["the bat"], 0.875),  # two spaces are not an edit, but lengthen the text
        (" \n", [""], 1.0),
    ],
)
def test_anls(prediction, accepted, score):
    metric = ANLS()
    metric.update([prediction], [accepted])
    assert metric.compute() == pytest.approx(score)


def test_anls_is_the_reference_s(golden):
    meta = golden("vary/metrics").meta
    assert len(meta["anls"]) == 12
    for case in meta["anls"]:
        metric = ANLS()
        metric.update([case["pred"]], [case["answers"]])
        assert metric.compute().item() == pytest.approx(case["anls"], abs=1e-7), case


def test_means_run_over_all_updates():
    anls, exact, cer = ANLS(), ExactMatch(), CharacterErrorRate()
    for metric in (anls, exact, cer):
        metric.update(["abcd", "x"], [["abcd"], ["y"]])
        metric.update(["Abce"], [["abcd"]])
    assert anls.compute() == pytest.approx((1 + 0 + 0.75) / 3)
    assert exact.compute() == pytest.approx(1 / 3)
    assert cer.compute() == pytest.approx((0 + 1 + 2) / 9)


@given(st.lists(st.tuples(st.text(max_size=6), st.text(min_size=1, max_size=6)), min_size=1, max_size=4))
def test_bounds(pairs):
    predictions, references = [first for first, _ in pairs], [[second] for _, second in pairs]
    for metric in (ANLS(), ExactMatch()):
        metric.update(predictions, references)
        assert 0 <= metric.compute() <= 1
        perfect = type(metric)()
        perfect.update([second for _, second in pairs], references)
        assert perfect.compute() == 1


def test_two_ranks_are_one(monkeypatch):
    """States are sums, so the ranks' states can be added."""
    for kind in (ANLS, ExactMatch, CharacterErrorRate):
        whole, first, second = kind(), kind(), kind()
        whole.update(["ab", "cd"], [["ab"], ["ce"]])
        first.update(["ab"], [["ab"]])
        second.update(["cd"], [["ce"]])
        for name, reduce in first._reductions.items():
            setattr(first, name, reduce(torch.stack([getattr(first, name), getattr(second, name)])))
        assert first.compute() == whole.compute()


def test_faults():
    with pytest.raises(ValueError, match="2 predictions, 1 references"):
        ANLS().update(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="at least one accepted answer"):
        ExactMatch().update(["a"], [[]])
    with pytest.raises(ValueError, match="at least one accepted answer"):
        CharacterErrorRate().update(["a"], ["a"])
