"""Every metric against the values that the references' own functions gave: golden/metrics, see its README."""

import json
import re
from pathlib import Path

import pytest

from foveal.core import Box, Size
from recipes.metrics import (
    ANLS,
    ActivityNetQa,
    Choice,
    CiderD,
    CircularChoice,
    FieldF1,
    Mme,
    MmmuOpen,
    OcrBench,
    Pope,
    RelaxedAccuracy,
    VqaAccuracy,
)
from recipes.metrics.choice_parsers import PARSERS
from recipes.metrics.cider import caption_tokens, cider_d
from recipes.metrics.documents import document_scores
from recipes.metrics.exact_match import gqa_match
from recipes.metrics.grounding import NUMBER, box_iou, written_box
from recipes.metrics.key_information import tree_accuracy
from recipes.metrics.mme import mme_label
from recipes.metrics.mmmu_open import open_answers
from recipes.metrics.ocrbench import v2_score
from recipes.metrics.page_text import page_scores
from recipes.metrics.vqa import evalai_normalised, vqa_normalised
from recipes.metrics.wups import wups

GOLDEN = Path(__file__).parent / "golden" / "metrics"


def cases(family):
    described = json.loads((GOLDEN / f"{family}.json").read_text(encoding="utf-8"))["cases"]
    return [pytest.param(case["in"], case["out"], id=case["id"]) for case in described]


def listed(answers):
    return answers if isinstance(answers, list) else [answers]


def close(ours, reference):
    assert float(ours) == pytest.approx(float(reference), abs=1e-6)


@pytest.mark.parametrize(("given", "out"), cases("vqa_soft_accuracy"))
def test_vqa_soft_accuracy(given, out):
    for reference, normaliser in (("lmms_textvqa", "evalai"), ("lmms_vizwiz", "evalai"), ("lmms_vqav2", "original")):
        close(VqaAccuracy(normaliser).score(given["prediction"], given["answers"]), out[reference])


@pytest.mark.parametrize(("given", "out"), cases("vqa_normaliser"))
def test_vqa_normalisers(given, out):
    assert vqa_normalised(given["text"]) == out["original"]
    assert evalai_normalised(given["text"]) == out["evalai"]


@pytest.mark.parametrize(("given", "out"), cases("anls"))
def test_anls(given, out):
    close(ANLS().score(given["prediction"], listed(given["answers"])), out["lmms"])


@pytest.mark.parametrize(("given", "out"), cases("relaxed_accuracy"))
def test_relaxed_accuracy(given, out):
    # lmms-eval counts "nan" as wrong even if the answer is the same text.
    if given["target"] != "nan":
        close(RelaxedAccuracy().score(given["prediction"], [given["target"]]), out["lmms"])


@pytest.mark.parametrize(("given", "out"), cases("gqa_exact_match"))
def test_gqa(given, out):
    for reference, rule in (("lmms", "lmms_eval"), ("llava", "llava")):
        close(gqa_match(given["prediction"], given["target"], rule), out[reference])


@pytest.mark.parametrize(
    ("family", "reference", "parser"),
    [
        ("mmmu_choice", "original", "mmmu"),
        ("mmmu_choice", "vlmevalkit", "vlmevalkit"),
        ("video_choice", "mmmu", "mmmu"),
        ("video_choice", "lmms_egoschema", "egoschema"),
        ("video_choice", "vlmevalkit", "vlmevalkit"),
    ],
)
def test_letters(family, reference, parser):
    """RANDOM: the reference would draw a letter; Z: it asks a judge. Here both choose none."""
    for given, out in (case.values for case in cases(family)):
        expected = None if out[reference] in ("RANDOM", "Z") else out[reference]
        assert PARSERS[parser](given["prediction"], given["choices"]) == expected, given


@pytest.mark.parametrize(
    ("family", "reference", "parser"),
    [
        ("scienceqa", "llava", "scienceqa"),
        ("scienceqa", "vlmevalkit", "vlmevalkit"),
        ("seed_letter", "lmms", "letter"),
        ("seed_letter", "llava", "strict"),
        ("seed_letter", "vlmevalkit", "vlmevalkit"),
    ],
)
def test_choices(family, reference, parser):
    for given, out in (case.values for case in cases(family)):
        answer = given["target"] if "target" in given else "ABCDE"[given["answer"]]
        metric = Choice(parser)
        metric.update([given["prediction"]], [answer], [given["choices"]])
        close(metric.compute(), out[reference])


@pytest.mark.parametrize(("given", "out"), cases("mmmu_open"))
def test_mmmu_open(given, out):
    assert sorted(open_answers(given["prediction"]), key=str) == sorted(out["original_parsed"], key=str)
    assert MmmuOpen().score(given["prediction"], listed(given["answer"])) == out["original"]


@pytest.mark.parametrize(("given", "out"), cases("mmbench_circular"))
def test_mmbench_circular(given, out):
    metric, records = CircularChoice(), given["records"]
    options = [list(record["options"].values()) for record in records]
    columns = [[record[key] for record in records] for key in ("prediction", "answer", "index")]
    metric.update(columns[0], columns[1], options, columns[2])
    scores = metric.compute()
    assert (scores["circular"], scores["vanilla"]) == (out["vlmevalkit"], out["plain"])


@pytest.mark.parametrize(("given", "out"), cases("pope"))
def test_pope(given, out):
    metric, reference = Pope(strict_reference=True), out["llava"]
    metric.update(*zip(*given["pairs"], strict=True))
    (tn, fn), (fp, tp) = metric.counts.tolist()
    assert (tp, fp, tn, fn) == tuple(reference[name] for name in ("tp", "fp", "tn", "fn"))
    if "raises" in reference:  # it divides by zero if no yes is right, or none is said
        assert float(metric.compute()["f1"]) == 0
    else:
        for name, score in metric.compute().items():
            close(score, reference[name])


@pytest.mark.parametrize(("given", "out"), cases("yes_no_parse"))
def test_labels_of_mme(given, out):
    assert mme_label(given["text"]) == out["original_mme"]
    assert mme_label(given["text"], "lmms_eval") == out["lmms_mme"]


@pytest.mark.parametrize(("given", "out"), cases("mme"))
def test_mme(given, out):
    columns = [[record[key] for record in given["records"]] for key in ("prediction", "answer", "category", "image")]
    for reference, labels in (("original", "original"), ("lmms", "lmms_eval")):
        metric = Mme(labels)
        metric.update(*columns)
        if out[reference] == "raises:AssertionError":
            with pytest.raises(ValueError, match="a picture has 1 questions, each must have two"):
                metric.compute()
        elif not str(out[reference]).startswith("raises"):
            scores = metric.compute()
            for name, score in out[reference].items():
                close(scores[name], score)


@pytest.mark.parametrize(("given", "out"), cases("ocrbench"))
def test_ocrbench(given, out):
    for reference, fold in (("original", False), ("lmms", True)):
        metric = OcrBench(fold_width=fold, strict_reference=True)
        metric.update([given["prediction"]], [listed(given["answers"])], [given["dataset"]])
        close(metric.compute(), out[reference])


@pytest.mark.parametrize(("given", "out"), cases("ocrbench_v2_answer"))
def test_ocrbench_v2(given, out):
    for reference, expected in out.items():
        if expected is not None:
            close(v2_score(given["prediction"], given["answers"], reference.replace("_regression", "")), expected)


@pytest.mark.parametrize(("given", "out"), cases("grounding_box"))
def test_grounding(given, out):
    """With the scale that the reference guesses from the numbers."""
    largest = max((abs(float(each)) for each in re.findall(NUMBER, given["prediction"])[:4]), default=0.0)
    scale = "unit" if largest <= 1.5 else "thousand" if largest <= 1000 else "pixel"
    left, top, width, height = given["box_xywh"]
    box = written_box(given["prediction"], Size.of(given["size"]), scale)
    if out["vlmevalkit_box"] is None:
        assert box is None
    else:
        assert box == pytest.approx(out["vlmevalkit_box"], abs=1e-6)
        close(box_iou(box, Box(left, top, left + width, top + height)), out["vlmevalkit_iou"])


@pytest.mark.parametrize(("given", "out"), cases("cider_d"))
def test_cider_d(given, out):
    texts, references = out["tokens_prediction"], out["tokens_references"]
    scores = cider_d(
        [(text.split(), [each.split() for each in of]) for text, of in zip(texts, references, strict=True)]
    )
    assert scores == pytest.approx(out["per_record"], abs=1e-6)
    metric = CiderD()
    metric.update(texts, references, tokenized=True)
    assert float(metric.compute()) == pytest.approx(out["cider"], abs=1e-5)
    for record, text, of in zip(given["records"], texts, references, strict=True):
        raw = [record["prediction"], *record["references"]]
        assert [" ".join(caption_tokens(each)) for each in raw] == [text, *of]


@pytest.mark.parametrize(("given", "out"), cases("mp_docvqa"))
def test_mp_docvqa(given, out):
    can = given.get("answer_type") != "not-answerable"
    accuracy, anls = document_scores(given["prediction"], given["answers"], answerable=can, strict_reference=True)
    close(accuracy, out["original"]["accuracy"][0])
    close(anls, out["original"]["anls"][0])


@pytest.mark.parametrize(("given", "out"), cases("activitynet_qa"))
def test_activitynet_qa(given, out):
    """The reference compares raw texts; here capitals, spaces and a full stop at the end do not count."""
    records = given["records"]
    predictions = [record["prediction"] for record in records]
    if given.get("drop_last"):
        predictions[-1] = None
    metric = ActivityNetQa()
    metric.update(predictions, [record["answer"] for record in records], [record["type"] for record in records])
    scores = metric.compute()
    cleaned = any(text is not None and text != text.lower().strip().rstrip(".") for text in predictions)
    close(scores["accuracy"], 1 if cleaned else out["original"]["accuracy"])
    close(scores.get("free", 0), 1 if cleaned else out["original"]["free"])


@pytest.mark.parametrize(("given", "out"), cases("kie"))
def test_key_information(given, out):
    metric = FieldF1()
    metric.update(given["predictions"], given["answers"])
    both_empty = not any((*given["predictions"], *given["answers"]))
    close(metric.compute(), 1 if both_empty else out["donut_f1"])
    for prediction, answer, expected in zip(given["predictions"], given["answers"], out["donut_accuracy"], strict=True):
        close(tree_accuracy(prediction, answer), 1 if both_empty else expected)


@pytest.mark.slow
def test_wups(word_net):
    for given, out in (case.values for case in cases("wups")):
        words = given["prediction"].split(), given["answer"].split()
        close(wups(*words, 0.0), out["wups0"])
        close(wups(*words, 0.9), out["wups09"])


@pytest.mark.slow
def test_page_text(word_net):
    names = {"bleu": "bleu", "meteor": "meteor", "precision": "precision", "recall": "recall"}
    for given, out in (case.values for case in cases("page_text")):
        scores = page_scores(given["prediction"], given["reference"])
        for ours, theirs in (names | {"f1": "f_measure", "edit": "edit_distance"}).items():
            close(scores[ours], out[theirs] or 0)


@pytest.fixture(scope="module")
def word_net():
    from recipes.metrics.wordnet import wordnet

    try:
        return wordnet()
    except LookupError as error:
        pytest.skip(str(error))
