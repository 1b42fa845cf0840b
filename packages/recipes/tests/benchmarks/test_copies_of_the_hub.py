"""Benchmarks as Parquet, with the columns that lmms-lab's copies have."""

import pytest
from packages.recipes.tests.benchmarks.files import embedded, shades

OPTIONS = {f"choice_{letter}": f"option {letter}" for letter in "abcd"}
ROWS = {
    "vqav2": (
        "data/validation",
        {"question_id": 7, "answer_type": "other", "question_type": "what is", "answers": [{"answer": "a"}]},
        {"answers": ["a"], "answer_type": "other", "question_type": "what is"},
    ),
    "vizwiz": (
        "data/val",
        {"question_id": "v.jpg", "answers": ["a"] * 10, "category": "other"},
        {"sentence": "What is it?"},
    ),
    "textvqa": ("data/validation", {"question_id": 7, "image_id": "f", "answers": ["a"] * 10}, {"answers": ["a"] * 10}),
    "textvqa_ocr": (
        "data/validation",
        {"question_id": 7, "image_id": "f", "answers": ["a"], "ocr_tokens": ["x", "y"]},
        {"ocr": "\nReference OCR token: x, y"},
    ),
    "chartqa": ("data/test", {"type": "human_test", "answer": "14"}, {"answers": ["14"], "type": "human_test"}),
    "pope": (
        "data/test",
        {"question_id": "7", "answer": "no", "category": "popular", "image_source": "COCO_1"},
        {"answer": "no", "category": "popular"},
    ),
    "ocrbench": (
        "data/test",
        {"dataset": "HME100k", "question_type": "HMER", "answer": ["x"]},
        {"dataset": "HME100k", "answers": ["x"]},
    ),
    "ocrbench_v2_core": (
        "data/test",
        {"id": 7, "type": "diagram QA en", "answers": ["x"], "eval": None},
        {"rule": "", "answers": ["x"]},
    ),
    "seed": (
        "data/test",
        {"question_id": "7", "question_type_id": 2, "data_type": "image", "answer": "B"} | OPTIONS,
        {"answer": "B", "options": list(OPTIONS.values())},
    ),
    "scienceqa": (
        "ScienceQA-FULL/test",
        {"choices": ["cat", "dog"], "answer": 1, "hint": "", "subject": "biology"},
        {"answer": "B", "lines": "A. cat\nB. dog", "context": "", "modality": "image"},
    ),
    "mmvet": (
        "data/test",
        {"question_id": "v1_0", "answer": "x", "capability": "ocr,math"},
        {"capability": "ocr,math", "truth": "x"},
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_copy_of_the_hub(ask, name):
    place, row, wanted = ROWS[name]
    rows = [row | {"question": "What IS it?", "image": embedded(140)}]
    (item,) = ask(name, {f"{place}-00000-of-00001.parquet": rows})
    assert {key: item.values[key] for key in wanted} == wanted
    assert item.values["question"] == "What IS it?"
    assert shades(item) == [140]


def test_mme_of_the_hub(ask):
    row = {"question_id": "code_reasoning/0020.png", "image": embedded(9), "category": "code_reasoning"}
    asked = [("Is it one? Please answer yes or no.", "Yes"), ("Is it two? Please answer yes or no.", "No")]
    rows = [row | {"question": question, "answer": answer} for question, answer in asked]
    first, second = ask("mme", {"data/test-00000-of-00001.parquet": rows})
    assert (first.values["subtask"], first.values["question"]) == ("code_reasoning", "Is it one?")
    assert (second.values["answer"], shades(second)) == ("No", [9])


def test_videos_of_the_hub(ask):
    row = {"video": 11, "question": "why", "answer": 2, "qid": 4, "type": "CW"} | {f"a{n}": f"{n}" for n in range(5)}
    (item,) = ask("nextqa_mc", {"MC/test-00000-of-00001.parquet": [row], "NExTVideo/11.mp4": b"x"})
    assert (item.key, item.values["answer"], item.values["class"]) == ("11/4", "C", "C")
    row = {"video_name": "abc", "question": "is it", "question_id": "v_abc_1", "answer": "yes", "type": "3"}
    (item,) = ask("activitynet_qa", {"data/test-00000-of-00001.parquet": [row], "videos/v_abc.mp4": b"x"})
    assert (item.values["sentence"], item.values["type"], item.video.find().name) == ("Is it?", 3, "v_abc.mp4")
