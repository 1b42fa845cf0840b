"""Metrics of documents and charts against results of the reference functions and values computed by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recipes.metrics import PageOcr, RelaxedAccuracy
from recipes.metrics.answers import distance, relative_distance
from recipes.metrics.page_ocr import harmonic, overlap, page_tokens
from recipes.metrics.relaxed_accuracy import relaxed_match

SCORES = ("precision", "recall", "f_measure")
TEXTS = st.text(alphabet="ab 模", max_size=12)


def accuracy(prediction, accepted, **settings):
    metric = RelaxedAccuracy(**settings)
    metric.update([prediction], [accepted])
    return metric.compute()


def ocr(predictions, texts):
    metric = PageOcr()
    metric.update(predictions, [[text] for text in texts])
    return metric.compute()


def stored(case, scores):
    """Precision, recall and F1 of a case; where the reference divides by 0, one side is empty: 0, or 1 if both are."""
    both = float(not case["pred"] and not case["gt"])
    return [both if scores[name] is None else scores[name] for name in SCORES]


def test_relaxed_accuracy_is_the_references(golden):
    cases = golden("vary/metrics").meta["relaxed"]
    assert [relaxed_match(case["pred"], case["target"], 0.05) for case in cases] == [case["correct"] for case in cases]
    metric = RelaxedAccuracy()
    metric.update([case["pred"] for case in cases], [[case["target"]] for case in cases])
    assert metric.compute() == pytest.approx(sum(case["correct"] for case in cases) / len(cases))


@pytest.mark.parametrize(
    ("prediction", "accepted", "right"),
    [
        ("9", ["five", "8", "9.4"], True),  # any of those accepted
        ("9", ["five", "8"], False),
        ("50% ", ["0.5"], False),  # the sign is not the last character: a text
        ("-5%", ["-0.05"], True),
        ("-5", ["5"], False),
        ("nan", ["NaN"], True),  # texts
        ("nan", ["5"], False),
        ("5", ["nan"], False),
        ("1e999", ["5"], False),
        ("5", ["inf"], False),
        ("", [""], True),
    ],
)
def test_relaxed_accuracy_by_hand(prediction, accepted, right):
    assert accuracy(prediction, accepted) == right


def test_tolerance():
    assert accuracy("6", ["5"], tolerance=0.2) == 1
    assert accuracy("5.1", ["5"], tolerance=0) == 0
    assert accuracy("5.0", ["5"], tolerance=0) == 1
    for tolerance in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="at least 0"):
            RelaxedAccuracy(tolerance=tolerance)


def test_overlap_is_the_references(golden):
    meta = golden("vary/metrics").meta
    for case in meta["ocr"]:
        predicted, true = case["pred_tokens"], case["gt_tokens"]
        assert overlap(predicted, true) == pytest.approx(stored(case, case["bag"]), abs=meta["tol"]), case["pred"]
        if case["page"] == "ZeroDivisionError":
            assert overlap(set(predicted), set(true)) == (1, 1, 1)
        else:
            scores = stored(case, case["page"])
            assert overlap(set(predicted), set(true)) == pytest.approx(scores, abs=meta["tol"]), case["pred"]
        if case["character_sets"]:
            scores = stored(case, case["character_sets"])
            assert overlap(set(case["pred"]), set(case["gt"])) == pytest.approx(scores, abs=meta["tol"]), case["pred"]


def test_edit_distance_is_the_references(golden):
    meta = golden("vary/metrics").meta
    for case in meta["ocr"]:
        edit = 0 if case["page"] == "ZeroDivisionError" else case["page"]["edit_dist"]
        assert relative_distance(case["pred"], case["gt"]) == pytest.approx(edit, abs=meta["tol"]), case["pred"]


def test_tokens_are_the_references_but_for_chinese(golden):
    for case in golden("vary/metrics").meta["ocr"]:
        same = [page_tokens(case["pred"]) == case["pred_tokens"], page_tokens(case["gt"]) == case["gt_tokens"]]
        assert same == [case["tokenizer"] == "split"] * 2, case["pred"]


def test_page_means_are_the_references(golden):
    """The metric on pages whose words need no dictionary, and its functions on all scored pages."""
    meta = golden("vary/metrics").meta
    scored = [case for case in meta["ocr"] if case["pred"] and case["gt"]]
    means = meta["ocr_mean_over_scored_pages"]

    assert len(scored) == means["n"]
    pages = [overlap(set(case["pred_tokens"]), set(case["gt_tokens"])) for case in scored]
    average = torch.tensor(pages, dtype=torch.float64).mean(0)
    assert average.tolist() == pytest.approx([means[name] for name in SCORES], abs=meta["tol"])
    assert harmonic(average[0], average[1]).item() == pytest.approx(means["f_measure_of_means"], abs=meta["tol"])
    edits = sum(relative_distance(case["pred"], case["gt"]) for case in scored)
    assert edits / len(scored) == pytest.approx(means["edit_dist"], abs=meta["tol"])

    split = [case for case in scored if case["tokenizer"] == "split"]
    result = ocr([case["pred"] for case in split], [case["gt"] for case in split])
    mean = {name: sum(case["page"][name] for case in split) / len(split) for name in (*SCORES, "edit_dist")}
    bag = {name: sum(case["bag"][name] for case in split) / len(split) for name in SCORES}
    assert {name: float(score) for name, score in result.items()} == pytest.approx(
        {
            "ocr_edit": mean["edit_dist"],
            "ocr_precision": mean["precision"],
            "ocr_recall": mean["recall"],
            "ocr_f1": mean["f_measure"],
            "ocr_f1_of_means": 2 * mean["precision"] * mean["recall"] / (mean["precision"] + mean["recall"]),
            "ocr_bag_precision": bag["precision"],
            "ocr_bag_recall": bag["recall"],
            "ocr_bag_f1": bag["f_measure"],
            "ocr_bag_f1_of_means": 2 * bag["precision"] * bag["recall"] / (bag["precision"] + bag["recall"]),
        },
        abs=1e-6,
    )


def test_precision_is_of_the_prediction():
    """Published scripts swap the two; a loop costs precision only if repetitions count."""
    result = ocr(["a a a a"], ["a b"])
    assert (result["ocr_precision"], result["ocr_recall"]) == (1, 0.5)
    assert (result["ocr_bag_precision"], result["ocr_bag_recall"]) == (0.25, 0.5)
    assert result["ocr_bag_f1"] == pytest.approx(1 / 3)


def test_two_kinds_of_f1():
    result = ocr(["a", "c"], ["a b c d", "d"])
    assert result["ocr_f1"] == pytest.approx((0.4 + 0) / 2)
    assert result["ocr_f1_of_means"] == pytest.approx(2 * 0.5 * 0.125 / 0.625)


@pytest.mark.parametrize(
    ("prediction", "text", "edit", "score"),
    [("", "", 0, 1), ("", "a b", 1, 0), ("a b", "", 1, 0), (" \n", "", 1, 1), ("ab", "cd", 1, 0)],
)
def test_empty_pages_count(prediction, text, edit, score):
    result = ocr([prediction], [text])
    assert result.pop("ocr_edit") == edit
    assert set(map(float, result.values())) == {score}


def test_chinese_tokens():
    assert page_tokens("3：模型 model龥鿿x\u3000一y") == ["3：", "模", "型", "model", "龥", "鿿x", "一", "y"]
    assert ocr(["模型"], ["型模"])["ocr_bag_f1"] == 1


@given(st.text())
def test_tokens_without_chinese_are_words(text):
    assert page_tokens(text) == text.split() or any("\u4e00" <= character <= "\u9fa5" for character in text)


def test_nearest_text_is_taken():
    metric = PageOcr()
    metric.update(["the mat"], [["cat", "the mats", "the mat sat"]])
    result = metric.compute()
    assert result["ocr_edit"] == pytest.approx(1 / 8)
    assert result["ocr_precision"] == 0.5


@pytest.mark.parametrize(("start", "stop"), [(0, 200), (250, 350), (400, 600)])
def test_a_missing_paragraph_costs_its_length(start, stop):
    """An alignment searched only near the diagonal would cost up to twice as much."""
    generator = torch.Generator().manual_seed(0)
    page = "".join(map(chr, torch.randint(97, 123, (600,), generator=generator).tolist()))
    cut = page[:start] + page[stop:]
    assert distance(cut, page) == distance(page, cut) == stop - start
    assert ocr([cut], [page])["ocr_edit"] == pytest.approx((stop - start) / 600)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_bounds(pairs):
    predictions, texts = map(list, zip(*pairs, strict=True))
    assert all(0 <= score <= 1 for score in ocr(predictions, texts).values())
    perfect = ocr(texts, texts)
    assert perfect.pop("ocr_edit") == 0
    assert set(map(float, perfect.values())) == {1}


@pytest.mark.parametrize("kind", [PageOcr, RelaxedAccuracy])
def test_two_ranks_are_one(kind):
    """States are sums, so the ranks' states can be added."""
    whole, first, second = kind(), kind(), kind()
    whole.update(["5.1", "a b"], [["5"], ["a c"]])
    first.update(["5.1"], [["5"]])
    second.update(["a b"], [["a c"]])
    for name, reduce in first._reductions.items():
        setattr(first, name, reduce(torch.stack([getattr(first, name), getattr(second, name)])))
    assert first.compute() == whole.compute()


@pytest.mark.parametrize("kind", [PageOcr, RelaxedAccuracy])
def test_updates_within_and_without_inference_mode(kind):
    mixed, plain = kind(), kind()
    with torch.inference_mode():
        mixed.update(["5.1"], [["5"]])
    mixed.update(["a b"], [["a c"]])
    plain.update(["5.1", "a b"], [["5"], ["a c"]])
    assert mixed.compute() == plain.compute()


@pytest.mark.parametrize("kind", [PageOcr, RelaxedAccuracy])
def test_faults(kind):
    with pytest.raises(ValueError, match="2 predictions, 1 references"):
        kind().update(["a", "b"], [["a"]])
    for accepted in ([], "a"):
        with pytest.raises(ValueError, match="at least one accepted answer"):
            kind().update(["a"], [accepted])
