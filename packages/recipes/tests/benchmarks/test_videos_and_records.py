"""Benchmarks of videos, and of records in receipts."""

import json

import pytest
from packages.recipes.tests.benchmarks.files import embedded, shades

LETTER = "\nAnswer with the option's letter from the given choices directly."


def test_egoschema(ask, table):
    options = {f"option {number}": f"text {number}" for number in range(5)}
    questions = [{"q_uid": each, "question": "What happens?"} | options for each in ("a", "b")]
    (item,) = ask("egoschema", {"questions.json": questions, "subset_answers.json": {"b": 3}, "videos/b.mp4": b"x"})
    assert (item.key, item.values["answer"], item.video.find().name) == ("b", "D", "b.mp4")
    assert table("egoschema").prompts["lmms_eval"].of(item) == (
        "What happens?\n" + "\n".join(f"{letter}. text {place}" for place, letter in enumerate("ABCDE")) + LETTER
    )


def test_egoschema_of_the_hub(ask):
    row = {"video_idx": "b", "question": "What?", "option": [f"{letter}. x" for letter in "ABCDE"], "answer": "3"}
    (item,) = ask("egoschema", {"Subset/test-00000-of-00001.parquet": [row], "videos/b.mp4": b"x"})
    assert (item.values["options"], item.values["answer"]) == (["x"] * 5, "D")


VIDEO = {"video": "11", "frame_count": "9", "question": "why did she go", "answer": "2", "qid": "4", "type": "CW"}


def test_nextqa_mc(ask, table):
    row = VIDEO | {f"a{number}": f"text {number}" for number in range(5)}
    files = {"test.csv": [row], "map_vid_vidorID.json": {"11": "1164/32"}, "videos/1164/32.mp4": b"x"}
    (item,) = ask("nextqa_mc", files)
    assert (item.key, item.values["answer"], item.values["class"]) == ("11/4", "C", "C")
    assert item.video.find().parent.name == "1164"
    lines = "why did she go\nA. text 0\nB. text 1\nC. text 2\nD. text 3\nE. text 4"
    assert table("nextqa_mc").prompts["lmms_eval"].of(item) == lines
    assert table("nextqa_mc").prompts["llava"].of(item) == lines + LETTER


@pytest.mark.parametrize(("name", "file"), [("nextqa_oe", "test.csv"), ("nextqa_oe_val", "val.csv")])
def test_nextqa_oe(ask, table, name, file):
    row = VIDEO | {"answer": "go away", "additional_ref_answer": "leave"}
    (item,) = ask(name, {file: [row], "map_vid_vidorID.json": {"11": "1/2"}, "videos/1/2.mp4": b"x"})
    assert item.values["answers"] == ["go away", "leave"]
    assert table(name).prompts["lmms_eval"].of(item) == (
        "why did she go\nAnswer a question using a short phrase or sentence."
    )
    metric = table(name).metric.clone()
    metric.update(["Leave.", "go", None], [item.values["answers"]] * 3)
    found = {each: float(value) for each, value in metric.compute().items()}
    assert found == pytest.approx({"f1": (1 + 2 / 3) / 3, "exact": 1 / 3})


def test_msvd_qa(ask):
    record = {"answer": "man", "id": 7, "question": "who is singing?", "video_id": 1301}
    files = {"test_qa.json": [record], "youtube_mapping.txt": "ab_c vid1301\nx vid2\n"}
    (item,) = ask("msvd_qa", files | {"YouTubeClips/ab_c.avi": b"x"})
    assert (item.key, item.video.find().name, item.values["answers"]) == ("7", "ab_c.avi", ["man"])
    with pytest.raises(ValueError, match=r"youtube_mapping.txt, line 2: two words are expected"):
        ask("msvd_qa", {"youtube_mapping.txt": "ab_c vid1301\nx\n"})


def test_activitynet_qa(ask, table):
    asked = {"video_name": "abc", "question": "is the athlete wearing Trousers", "question_id": "v_abc_1"}
    files = {"test_q.json": [asked], "test_a.json": [{"answer": "yes", "type": 3, "question_id": "v_abc_1"}]}
    (item,) = ask("activitynet_qa", files)
    with pytest.raises(ValueError, match=r"record 1: its video is missing: .*v_abc.mp4"):
        item.video.find()
    (item,) = ask("activitynet_qa", files | {"videos/v_abc.mkv": b"x"})
    assert table("activitynet_qa").prompts["lmms_eval"].of(item) == (
        "Is the athlete wearing trousers? Answer the question using a single word or phrase."
    )
    metric = table("activitynet_qa").metric.clone()
    metric.update(["Yes."], [item.values["answer"]], [item.values["type"]])
    assert float(metric.compute()["accuracy"]) == 1


def test_sroie(ask):
    fields = {"company": "ACME", "date": "1/2/2018", "address": "X", "total": "9.00"}
    (item,) = ask("sroie", {"test/entities/X1.txt": json.dumps(fields), "test/img/X1.jpg": 80})
    assert (item.key, item.values["record"], shades(item)) == ("X1", fields, [80])
    with pytest.raises(ValueError, match=r"X2.txt: not JSON"):
        ask("sroie", {"test/entities/X2.txt": "company: ACME"})


def test_cord(ask):
    truth = json.dumps({"gt_parse": {"menu": [{"nm": "tea", "price": "2"}]}, "meta": {}})
    (item,) = ask("cord", {"test/metadata.jsonl": [{"file_name": "a.png", "ground_truth": truth}], "test/a.png": 3})
    assert (item.values["record"], shades(item)) == ({"menu": [{"nm": "tea", "price": "2"}]}, [3])
    rows = [{"image": embedded(5), "ground_truth": truth}, {"image": embedded(6), "ground_truth": "{"}]
    with pytest.raises(ValueError, match=r"row 2, ground_truth: not JSON"):
        ask("cord", {"data/test-00000-of-00001.parquet": rows})
