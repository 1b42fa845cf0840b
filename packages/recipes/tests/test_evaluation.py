"""Evaluation: who asks what, files of answers, settings, and scores."""

import json
import sys
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.benchmarks.benchmark import Benchmark, Prompt
from recipes.benchmarks.item import Item
from recipes.benchmarks.pictures import FileVideo
from recipes.benchmarks.records import Records
from recipes.evaluation.answer_files import AnswerPart, read_answers, write_llava_answers, written_answers
from recipes.evaluation.asked import Asked, asked_question, questions_hash
from recipes.evaluation.asking import ended, of_rank
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import check_items, is_scored, scores_of, why_not_scored
from recipes.evaluation.settings import Settings
from recipes.evaluation.writing import write_results
from recipes.metrics import ANLS, CharacterErrorRate, Choice, CiderD, Mme, PageOcr, Pope, PopeFiles
from recipes.reading.pictures import PictureFolder


@dataclass(frozen=True)
class Named:
    """A picture with nothing behind it."""

    name: str

    def find(self):
        raise AssertionError


class Nothing(Records):
    def items(self, folder):
        yield from ()


def item(key, *pictures, **values):
    return Item(key, {"question": f"Question {key}?", **values}, tuple(map(Named, pictures)), where=f"a.json, {key}")


def benchmark(metric, **changes):
    prompt = Prompt("{question}\nShort.", 16)
    made = Benchmark("Words", "val", Nothing(), {"llava": prompt}, metric, {"references": "answers"})
    return replace(made, **changes)


ITEMS = [
    item("1", "a", answers=["red", "dark red"], kind="colour"),
    item("2", "a", answers=["two"], kind="number"),
    item("3", "b", answers=["blue"], kind="colour"),
]
ASKED = {key: Asked("prompt", f"hash of {key}") for key in "123"}


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=40), st.integers(1, 5))
def test_every_item_is_asked_once_and_pictures_stay_together(pictures, world):
    items = [item(str(number), *([name] if name else [])) for number, name in enumerate(pictures)]
    shares = [of_rank(items, rank, world) for rank in range(world)]
    assert sorted(each.key for share in shares for each in share) == sorted(each.key for each in items)
    for name in {"a", "b", "c", "d"}:
        assert sum(any(each.pictures == (Named(name),) for each in share) for share in shares) <= 1
    without = [sum(not each.pictures for each in share) for share in shares]
    if all(not name for name in pictures):
        assert max(without) - min(without) <= 1


def test_an_answer_ends_before_a_stop_text():
    assert ended(" red ASSISTANT: and", ("ASSISTANT:", "\n\n")) == "red"
    assert ended("red\n\nblue", ("ASSISTANT:", "\n\n")) == "red"
    assert ended("red\n\nblue", ()) == "red\n\nblue"


def test_scores_all_together_in_groups_and_one_by_one():
    answers = {"1": "Red", "3": "glue"}
    scores = scores_of(benchmark(ANLS(), groups=["kind"]), ITEMS, answers)
    assert scores.single == [1.0, 0.0, 0.75]
    assert scores.overall == {"ANLS": pytest.approx(1.75 / 3)}
    assert scores.groups == {"kind": {"colour": {"ANLS": 0.875}, "number": {"ANLS": 0.0}}}
    assert (scores.missing, scores.unparsed) == (1, 0)


def test_scores_of_metrics_with_several_or_none_for_a_single_item():
    asked = [item("1", truth="yes"), item("2", truth="no")]
    pope = benchmark(Pope(), update={"answers": "truth"})
    scores = scores_of(pope, asked, {"1": "Yes.", "2": "yes"})
    assert scores.single == [1.0, 0.0]
    assert set(scores.overall) == {"accuracy", "precision", "recall", "f1", "yes_ratio"}
    pytest.importorskip("nltk")
    captions = benchmark(CiderD(), per_item="none")
    assert scores_of(captions, ITEMS, {"1": "red"}).single == [None, None, None]


def test_single_scores_of_metrics_that_need_all_answers():
    """Alone, a right "no" has the F1 0, half a pair is refused, and every caption has the score 0."""
    asked = [item("1", truth="no", file="random"), item("2", truth="yes", file="popular")]
    asked.append(item("3", truth="no", file="popular"))
    said = {"1": "No.", "2": "no", "3": ""}
    files = benchmark(PopeFiles(), update={"answers": "truth", "files": "file"})
    assert scores_of(files, asked, said).single == [1.0, 0.0, 0.0]
    shown = zip("1234", ("No", "Yes", "No", "Yes"), "aabb", strict=True)
    pair = [item(key, truth=truth, part="count", shown=picture) for key, truth, picture in shown]
    mme = benchmark(Mme(), update={"answers": "truth", "subtasks": "part", "pictures": "shown"})
    assert scores_of(mme, pair, {"1": "no", "2": "no", "3": "perhaps"}).single == [1.0, 0.0, 0.0, 0.0]


def test_single_scores_of_captions():
    pytest.importorskip("nltk")
    texts = {"1": "a big red dog runs", "2": "two blue birds", "3": "an old car"}
    asked = [item(key, answers=[text]) for key, text in texts.items()]
    metric = CiderD()
    scores = scores_of(benchmark(metric), asked, texts | {"2": "two birds"})
    whole, part, short = scores.single
    assert (whole, short) == (pytest.approx(1), pytest.approx(0.75))  # no four words, so nothing for n = 4
    assert 0 < part < short
    assert scores.overall["CiderD"] == pytest.approx(10 * sum(scores.single) / 3)
    assert scores_of(benchmark(metric), asked, {}).single == [0, 0, 0]


def test_answers_that_are_not_understood_are_counted():
    asked = [item("1", right="A", options=["one", "two"]), item("2", right="B", options=["one", "two"])]
    choice = benchmark(Choice("letter"), update={"answers": "right", "options": "options"})
    scores = scores_of(choice, asked, {"1": "A", "2": "?"})
    assert (scores.overall, scores.unparsed) == ({"Choice": 0.5}, 1)


def test_a_missing_value_is_named():
    with pytest.raises(ValueError, match=r"a.json, 4: the benchmark's update or groups want answers, .* only question"):
        scores_of(benchmark(ANLS()), [item("4")], {})
    with pytest.raises(ValueError, match=r"a.json, 5: the prompt wants \{hint\}, but there is only question"):
        Prompt("{hint}{question}").of(item("5"))


def test_a_value_that_no_question_has_is_named():
    asked = [item("1", answers=["a"]), item("2")]
    misspelt = benchmark(ANLS(), update={"references": "answer"})
    assert not is_scored(misspelt, asked)
    assert why_not_scored(misspelt, asked) == (
        "no question has what the metric compares with (answer), only question, answers: nothing is scored"
    )


def test_answers_of_all_ranks_and_a_cut_line(tmp_path, capsys):
    for rank, number in ((0, 1), (1, 2)):
        part = AnswerPart(tmp_path, rank)
        part.add(item(str(number)), ASKED[str(number)], f"answer {number}\u2028")
        part.close()
    with (tmp_path / "answers-1.jsonl").open("a") as stream:
        stream.write('{"id": "3", "ans')
    assert written_answers(tmp_path, ASKED) == {"1": "answer 1\u2028", "2": "answer 2\u2028"}
    assert "its last line was not written to its end" in capsys.readouterr().err
    assert written_answers(tmp_path, {"2": ASKED["2"]}) == {"2": "answer 2\u2028"}
    assert capsys.readouterr().err == ""
    (tmp_path / "answers-2.jsonl").write_text('{"id": "3"}\n')
    with pytest.raises(ValueError, match=r"answers-2.jsonl, line 1: a text under 'question_hash' is expected"):
        written_answers(tmp_path, ASKED)


def test_an_answer_to_another_question_of_that_id(tmp_path):
    """Files of another version, or another folder, may have the same ids, and even ask the same about every picture."""
    asked, words = item("1", "a", answers=["red"]), benchmark(ANLS())
    first = asked_question(words, asked, "What is it?")
    part = AnswerPart(tmp_path, 0)
    part.add(asked, first, "It")
    part.close()
    others = [
        (asked, "What was it?"),
        (item("1", "b", answers=["red"]), "What is it?"),
        (item("1", "a", answers=["blue"]), "What is it?"),
    ]
    for other, prompt in others:
        with pytest.raises(ValueError, match=r"line 1: '1' was another question then: give another --output"):
            written_answers(tmp_path, {"1": asked_question(words, other, prompt)})
        assert questions_hash([asked_question(words, other, prompt)]) != questions_hash([first])
    assert written_answers(tmp_path, {"1": first}) == {"1": "It"}


@pytest.mark.parametrize("answers", [[], "red", None])
def test_items_that_cannot_be_scored_are_named_before_anything_is_asked(answers):
    asked = [*ITEMS, item("4", answers=answers)]
    with pytest.raises(ValueError, match=r"^a.json, 4: "):
        check_items(benchmark(ANLS()), asked)
    assert is_scored(benchmark(ANLS()), asked)
    assert not is_scored(benchmark(ANLS()), [item("5")])


@pytest.mark.parametrize("metric", [CharacterErrorRate(), PageOcr()])
def test_the_worst_come_first_only_where_more_is_better(metric):
    with pytest.raises(ValueError, match=r"is better the lower it is: the benchmark needs per_item: none"):
        check_items(benchmark(metric), ITEMS)
    check_items(benchmark(metric, per_item="none"), ITEMS)


def test_items_that_cannot_be_scored_together_are_told_before_anything_is_asked():
    asked = [item("1", answer="Yes", subtask="count", picture="a")]
    pairs = benchmark(Mme(), update={"answers": "answer", "subtasks": "subtask", "pictures": "picture"})
    with pytest.raises(ValueError, match=r"Mme cannot score these 1 questions together: count: .*\n.*--limit"):
        check_items(pairs, asked)


@pytest.mark.parametrize(("question", "said"), [(None, "a text is expected, not None"), ("\ud800", "half a character")])
def test_questions_that_are_no_text(question, said):
    with pytest.raises(ValueError, match=rf"^a.json, 1.*{said}"):
        Prompt("{question}").of(Item("1", {"question": question}, where="a.json, 1"))


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "answers-0.jsonl").symlink_to("/dev/full")
    part = AnswerPart(tmp_path, 0)
    with pytest.raises(OSError, match=r"No space left on device: '.*answers-0.jsonl'"):
        part.add(item("1"), ASKED["1"], "answer")
    part.close()


def test_an_answer_that_no_file_can_hold(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "answer": "\\ud800"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 1, answer: half a character"):
        read_answers(tmp_path / "a.jsonl", ITEMS)


def test_llava_answers_there_and_back(tmp_path, capsys):
    answers = {"1": "red", "3": "blue"}
    write_llava_answers(
        tmp_path / "a.jsonl", ITEMS, dict.fromkeys("123", Asked("<image>\nP", "hash")), answers, model="m"
    )
    row = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])
    assert row == {"question_id": "1", "prompt": "P", "text": "red", "answer_id": "1", "model_id": "m", "metadata": {}}
    assert read_answers(tmp_path / "a.jsonl", ITEMS) == answers
    numbered = [replace(each, values={**each.values, "id": int(each.key)}) for each in ITEMS]
    write_llava_answers(tmp_path / "b.jsonl", numbered, dict.fromkeys("123", Asked("P", "hash")), answers, model="m")
    assert json.loads((tmp_path / "b.jsonl").read_text().splitlines()[1])["question_id"] == 3
    assert read_answers(tmp_path / "b.jsonl", ITEMS) == answers
    texts = zip(ITEMS, ("x", "y", "z"), strict=True)
    lines = [json.dumps({"question_id": "image", "prompt": each.values["question"], "text": x}) for each, x in texts]
    (tmp_path / "by order.jsonl").write_text("\n".join(lines) + "\n")
    assert read_answers(tmp_path / "by order.jsonl", ITEMS) == {"1": "x", "2": "y", "3": "z"}
    assert "their order is taken" in capsys.readouterr().err


def test_answers_in_another_order_are_refused(tmp_path):
    """LLaVA's files have the questions of several files in an order of their own, as those of POPE."""
    items = [
        Item(key, {"question": question}, where="q.json") for key, question in (("a/1", "A dog?"), ("b/1", "A cat?"))
    ]
    rows = [{"question_id": 1, "prompt": f"{each}\nOne word.", "text": "yes"} for each in ("A dog?", "a CAT?")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_answers(tmp_path / "a.jsonl", items) == {"a/1": "yes", "b/1": "yes"}
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    with pytest.raises(
        ValueError, match=r"b.jsonl, line 1: .* is that of no question(?s:.*)is not about 'A dog\?'.*\(q.json\)"
    ):
        read_answers(tmp_path / "b.jsonl", items)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"id": "9", "answer": "x"}'], "line 1: '9' is no question of this benchmark"),
        # As many lines as questions, one of them misspelt: the others must not change their places.
        ([f'{{"id": "{key}", "answer": "x"}}' for key in "31B"], "line 3: 'B' is no question"),
        ([f'{{"question_id": "{key}", "prompt": "P", "text": "x"}}' for key in "31B"], "line 3: 'B' is no question"),
        ([f'{{"question_id": "{key}", "text": "x"}}' for key in "ABC"], "line 1: 'A' is no question"),
        (['{"id": "1", "answer": "x"}'] * 2, "line 2: '1' is answered twice"),
        (['{"id": "1", "answer": 5}'], "line 1: a text under 'answer' is expected"),
        (["[1]"], "line 1: an object with an answer is expected"),
        (["{"], "line 1: not JSON"),
    ],
)
def test_answers_that_belong_to_nothing(tmp_path, lines, said):
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=said):
        read_answers(tmp_path / "a.jsonl", ITEMS)


def test_answers_to_other_settings_are_not_mixed(tmp_path):
    hashes = ("1", "2", "3", "4")
    settings = Settings(
        *("b", "val", "m", "llava", "{question}", "vicuna_v1"),
        *hashes,
        16,
        0.0,
        ("\n",),
        8,
        "",
        "float32",
        "cpu",
        "sdpa",
    )
    settings.keep(tmp_path / "settings.json")
    settings.keep(tmp_path / "settings.json")
    with pytest.raises(ValueError, match=r"answers to other settings: max_new_tokens \(16, now 8\): give another"):
        replace(settings, max_new_tokens=8).keep(tmp_path / "settings.json")
    with pytest.raises(ValueError, match=r"answers to other settings: dtype, device \('float32', now 'bfloat16'\)"):
        replace(settings, dtype="bfloat16", device="cuda").keep(tmp_path / "settings.json")
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings.json: not JSON"):
        settings.keep(tmp_path / "settings.json")


def test_one_process_scores_alone(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    assert scores_of(benchmark(ANLS()), ITEMS, {"1": "red", "2": "two", "3": "blue"}).overall == {"ANLS": 1.0}


def test_answers_about_videos_are_shown_without_what_reads_videos(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "1.mp4").touch()
    asked = replace(item("1", answers=["red"]), video=FileVideo(("1.mp4",), PictureFolder(tmp_path), "record 1"))
    results = Results("words", benchmark(ANLS()), [asked], {"1": Asked("Question 1?", "hash")}, {"1": "red"}, None, 0)
    write_results(results, scores_of(results.benchmark, [asked], results.answers), {}, tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text())["scores"]["ANLS"] == 1
    assert "reading videos needs av: pip install" in (tmp_path / "report.html").read_text()
