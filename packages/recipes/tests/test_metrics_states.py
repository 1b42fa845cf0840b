"""Metrics over several ranks, missing answers, and what is refused."""

import pytest

from foveal.core import Box, Size
from recipes.metrics import (
    ANLS,
    ActivityNetQa,
    Answered,
    CharacterErrorRate,
    Choice,
    CiderD,
    CircularChoice,
    ExactMatch,
    FieldF1,
    GqaAccuracy,
    GroundingAccuracy,
    KeyInformation,
    Mme,
    Mmmu,
    MmmuOpen,
    MpDocVqa,
    OcrBench,
    OcrBenchV2,
    OcrBenchV2Core,
    PageOcr,
    PageText,
    Pope,
    PopeFiles,
    RelaxedAccuracy,
    TreeAccuracy,
    VqaAccuracy,
    WordF1,
    Wups,
)
from recipes.metrics.key_information import read_record

WORDS = ["left", "right"]
UPDATES = {
    "anls": (ANLS, (["cat", "dig", None], [["cat"], ["dog"], ["owl"]])),
    "vqa": (VqaAccuracy, (["cat", "dog", None], [["cat", "dog", "dog"], ["dog"] * 4, ["owl"]])),
    "relaxed": (RelaxedAccuracy, (["10", "9", None], [["10.2"], ["5"], ["1"]])),
    "choice": (Choice, (["A", "", None], ["A", "B", "B"], [WORDS, WORDS, WORDS])),
    "circular": (CircularChoice, (["A", "B", None], ["A", "B", "B"], [WORDS] * 3, [5, 1_000_005, 7])),
    "pope": (Pope, (["yes", "no", None], ["yes", "yes", "no"])),
    "pope_files": (PopeFiles, (["yes", "no", None], ["yes", "yes", "no"], ["random", "popular", "random"])),
    "mmmu": (Mmmu, (["A", "It is 3.", None], [["A"], ["3"], ["B"]], [WORDS, [], WORDS])),
    "mmmu_open": (MmmuOpen, (["It is 3.", "a cat", None], [["3", "three"], ["dog"], ["B"]])),
    "answered": (Answered, (["a cat", " ", None],)),
    "key_information": (KeyInformation, (['{"a": "1"}', "no", None], [{"a": "1"}, {"b": "3"}, {"c": "4"}])),
    "ocrbench_v2_core": (
        OcrBenchV2Core,
        (["a cat", "B.", None], [["cat"], ["B"], ["d"]], ["diagram QA en", "math QA en", "cognition VQA cn"], [""] * 3),
    ),
    "word_f1": (WordF1, (["a cat.", "dog", None], [["cat"], ["Dog", "owl"], ["owl"]])),
    "wups": (Wups, (["cat", "dog", None], [["cat"], ["dog"], ["owl"]])),
    "mme": (Mme, (["yes", "no", None, "yes"], ["Yes", "No", "No", "yes"], ["count"] * 4, ["a", "a", "b", "b"])),
    "ocrbench": (OcrBench, (["a cat", "b", None], [["cat"], ["c"], ["d"]], ["x"] * 3)),
    "ocrbench_v2": (OcrBenchV2, (["a cat", "b", None], [["cat"], ["c"], ["d"]])),
    "cider": (CiderD, (["a cat", "a dog", None], [["a cat"], ["the dog"], ["an owl"]])),
    "cer": (CharacterErrorRate, (["cat", "dig", None], [["cat"], ["dog"], ["owl"]])),
    "page_ocr": (PageOcr, (["a cat", "a dig", None], [["a cat"], ["a dog"], ["an owl"]])),
    "page_text": (PageText, (["a cat", "a dig", None], ["a cat", "a dog", "an owl"])),
    "mp_docvqa": (MpDocVqa, (["x", "y", None], [["x"], ["z"], ["z"]], [True] * 3, [0, None, None], [0, 1, None])),
    "activitynet": (ActivityNetQa, (["yes", "red", None], ["yes", "blue", "two"], [3, 4, 7])),
    "fields": (FieldF1, ([{"a": "1"}, {"b": "2"}, None], [{"a": "1"}, {"b": "3"}, {"c": "4"}])),
    "tree": (TreeAccuracy, ([{"a": "1"}, {"b": "2"}, None], [{"a": "1"}, {"b": "3"}, {"c": "4"}])),
    "grounding": (
        lambda: GroundingAccuracy("unit"),
        (["[0, 0, 1, 1]", "none", None], [Box(0, 0, 10, 10)] * 3, [Size(10, 10)] * 3),
    ),
}


class NoSynonyms:
    """Takes the place of WordNet, which not every machine has."""

    def synsets(self, word):
        return []


@pytest.fixture(autouse=True)
def no_synonyms(monkeypatch):
    monkeypatch.setattr("recipes.metrics.page_text.wordnet", NoSynonyms)


def as_dict(score):
    return {name: float(each) for name, each in score.items()} if isinstance(score, dict) else {"score": float(score)}


@pytest.mark.parametrize("name", UPDATES)
def test_two_halves_are_the_whole(name):
    """As ranks do: every state is summed or concatenated."""
    make, columns = UPDATES[name]
    whole, first, second = make(), make(), make()
    whole.update(*columns)
    first.update(*(column[:1] for column in columns))
    second.update(*(column[1:] for column in columns))
    first.merge_state(second)
    assert as_dict(first.compute()) == pytest.approx(as_dict(whole.compute()))
    assert int(first.missing) == int(whole.missing) == 1


@pytest.mark.parametrize("name", UPDATES)
def test_a_rank_without_answers_sends_what_can_be_gathered(name):
    """Ranks that send tensors of other dtypes or dimensions end each other."""
    make, columns = UPDATES[name]
    used, empty = make(), make()
    used.update(*columns)
    sent = [[], []]
    for metric, found in zip((used, empty), sent, strict=True):

        def gather(tensor, group, found=found):
            found.append(tensor)
            return [tensor]

        metric.sync(dist_sync_fn=gather, distributed_available=lambda: True)
    assert [(each.dtype, each.shape[1:]) for each in sent[1]] == [(each.dtype, each.shape[1:]) for each in sent[0]]
    empty.unsync()
    empty.update(*columns)
    used.unsync()
    assert as_dict(empty.compute()) == pytest.approx(as_dict(used.compute()))


@pytest.mark.parametrize("name", [name for name, (_, columns) in UPDATES.items() if len(columns) > 1])
def test_lists_of_different_lengths(name):
    make, columns = UPDATES[name]
    with pytest.raises(ValueError, match=r"\d predictions, .*\d"):
        make().update(columns[0][:-1], *columns[1:])


def test_answers_that_choose_nothing_are_counted():
    metric = Choice()
    metric.update(["A", "", None, "perhaps"], ["A", "B", "B", "A"], [WORDS] * 4)
    assert (float(metric.compute()), int(metric.unparsed), int(metric.missing)) == (0.25, 2, 1)
    boxes = GroundingAccuracy("pixel")
    boxes.update(["nowhere", None], [Box(0, 0, 1, 1)] * 2, [Size(1, 1)] * 2)
    assert (int(boxes.unparsed), int(boxes.missing)) == (1, 1)


def test_a_missing_page_scores_as_an_empty_one():
    """By hand: METEOR of a page without a fault is 1 less the penalty of its one chunk of four words."""
    whole = {"bleu": 1, "meteor": 1 - 0.5 / 4**3, "precision": 1, "recall": 1, "f1": 1, "edit": 0}
    full = (whole["bleu"] + whole["meteor"] + whole["f1"] + 1) / 4
    for lost, missing in ((None, 1), ("", 0)):
        metric = PageText()
        metric.update(["a cat\nsat down", lost], ["a cat\nsat down", "an owl"])
        halves = {name: score / 2 for name, score in (whole | {"edit": 1, "full_page": full}).items()}
        assert as_dict(metric.compute()) == pytest.approx(halves)
        assert int(metric.missing) == missing


def test_an_empty_answer_is_wrong_unless_the_reference_is_followed():
    for strict, ratio in ((False, 0.0), (True, 1.0)):
        metric = Pope(strict_reference=strict)
        metric.update([""], ["yes"])
        assert float(metric.compute()["accuracy"]) == ratio
        files = PopeFiles(strict_reference=strict)
        files.update([""], ["yes"], ["random"])
        assert float(files.compute()["accuracy"]) == ratio
        documents = MpDocVqa(strict_reference=strict)
        documents.update([""], [["Not answerable"]], [False], [None], [None])
        assert {name: float(score) for name, score in documents.compute().items()} == {"accuracy": ratio, "anls": 0}
        hits = OcrBench(strict_reference=strict)
        hits.update(["anything"], [[""]], ["docVQA"])
        assert float(hits.compute()) == ratio


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Choice("best"), "parser must be one of mmmu, letter"),
        (lambda: CircularChoice("best"), "parser must be one of"),
        (lambda: VqaAccuracy("plain"), "normaliser must be one of evalai, original"),
        (lambda: GqaAccuracy("plain"), "rule must be one of lmms_eval, llava"),
        (lambda: GroundingAccuracy("guess"), "scale must be one of unit, thousand, pixel"),
        (lambda: Mme("plain"), "labels must be one of original, lmms_eval"),
        (lambda: OcrBenchV2("plain"), "kind must be one of vqa"),
        (lambda: Choice().update(["A"], ["C"], [WORDS]), "the right answer is 'C', the 2 options are AB"),
        (lambda: Pope().update(["yes"], ["maybe"]), "the truth is 'maybe', expected yes or no"),
        (lambda: Mme().update(["yes"], ["yes"], ["cooking"], ["a"]), "'cooking' is not a subtask of MME"),
        (lambda: OcrBench().update(["a"], ["banana"], ["x"]), "a list of at least one accepted answer"),
        (lambda: OcrBenchV2().update(["a"], ["banana"]), "a list of at least one accepted answer"),
        (lambda: OcrBenchV2Core().update(["a"], ["banana"], ["math QA en"], [""]), "a list of at least one"),
        (lambda: ActivityNetQa().update(["yes"], ["yes"], [9]), "9 is not a type of question"),
    ],
)
def test_what_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    "text",
    [
        '{"total": "5.00", "date": "1 May"}',
        'Here it is:\n```json\n{"total": "5.00", "date": "1 May"}\n```',
        "{'total': '5.00', 'date': '1 May'}",
        "total: 5.00\ndate: 1 May",
    ],
)
def test_records_in_answers(text):
    assert read_record(text) == {"total": "5.00", "date": "1 May"}


def test_no_record_in_an_answer():
    assert read_record("I cannot read it") is None
    assert read_record("[1, 2]") is None
    assert read_record("{{1, 2}}") is None


@pytest.mark.parametrize("answer", ['{{"company": "X", "total": "5.00"}}', "{1: 'tea'}", "{(1, 2): {3: [4]}}"])
def test_a_record_that_python_reads_otherwise(answer):
    """All answers are there by then: one of them must not keep the others from being scored."""
    metric = KeyInformation()
    metric.update([answer, '{"total": "5.00"}'], [{"total": "5.00"}, {"total": "5.00"}])
    assert 0 < float(metric.compute()["f1"]) < 1


@pytest.mark.parametrize("text", [" " * 5000, "total" + " " * 5000, "\n" * 5000, '"' + " " * 5000])
def test_an_answer_of_spaces_is_read_at_once(text):
    """Without care the regular expression takes minutes."""
    assert read_record(text) is None


def test_a_full_stop_at_the_end():
    for counts, right in ((True, 0), (False, 1)):
        metric = ExactMatch(full_stop=counts)
        metric.update([" Man ."], [["man"]])
        assert float(metric.compute()) == right


def test_a_caption_s_line_ends_do_not_make_references():
    plain, broken = CiderD(), CiderD()
    for metric, caption in ((plain, "a cat on a mat"), (broken, "a cat\non a\x00 mat")):
        metric.update([caption, "a dog"], [["a dog runs"], ["the dog"]], tokenized=True)
    assert float(broken.compute()) == float(plain.compute())
