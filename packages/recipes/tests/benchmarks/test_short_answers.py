"""Benchmarks of short answers: original files and the copies on the hub."""

import pytest
from packages.recipes.tests.benchmarks.files import embedded, shades

from recipes.evaluation.scoring import scores_of

SHORT = "\nAnswer the question using a single word or phrase."
UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'." + SHORT


def prompt_of(table, name, item, who="llava"):
    return table(name).prompts[who].of(item)


DOCUMENT = {"questionId": 7, "question": "What is the date?", "answers": ["May 1", "1 May"], "data_split": "val"}


def test_docvqa(ask, table):
    files = {
        "val_v1.0_withQT.json": {"data": [DOCUMENT | {"image": "documents/a_1.png"}]},
        "spdocvqa_images/a_1.png": 40,
        "DocVQA/validation-00000-of-00001.parquet": [{"question": "never read"}],
    }
    (item,) = ask("docvqa", files)
    assert (item.key, item.values["answers"], shades(item)) == ("7", ["May 1", "1 May"], [40])
    assert prompt_of(table, "docvqa", item) == "What is the date?" + SHORT
    assert prompt_of(table, "docvqa", item, "lmms_eval") == "What is the date?" + SHORT
    assert table("docvqa").prompts["lmms_eval"].max_new_tokens == 32


def test_docvqa_and_infovqa_of_the_hub(ask):
    row = {"questionId": "7", "question": "Q?", "answers": ["a"], "image": embedded(70)}
    for name, place in (("docvqa", "DocVQA"), ("infovqa", "InfographicVQA")):
        first, second = ask(name, {f"{place}/validation-00000-of-00001.parquet": [row, row | {"questionId": "8"}]})
        assert (first.key, first.values["answers"], shades(first)) == ("7", ["a"], [70])
        assert first.pictures[0].name == second.pictures[0].name


def test_infovqa(ask):
    record = DOCUMENT | {"image_local_name": "3.jpeg"}
    (item,) = ask("infovqa", {"infographicsVQA_val_v1.0_withQT.json": {"data": [record]}, "images/3.jpeg": 9})
    assert shades(item) == [9]


def test_vqav2(ask, table):
    said = [{"answer": f"{number}", "answer_confidence": "yes", "answer_id": number} for number in range(10)]
    questions = {"questions": [{"image_id": 42, "question": "How many?", "question_id": 42001}]}
    kinds = {"answer_type": "number", "question_type": "how many"}
    notes = {"annotations": [{"question_id": 42001, "image_id": 42, "answers": said} | kinds]}
    files = {
        "v2_OpenEnded_mscoco_val2014_questions.json": questions,
        "v2_mscoco_val2014_annotations.json": notes,
        "val2014/COCO_val2014_000000000042.jpg": 120,
    }
    (item,) = ask("vqav2", files)
    assert (item.key, item.values["answers"], shades(item)) == ("42001", list("0123456789"), [120])
    found = scores_of(table("vqav2"), [item], {"42001": "3"})
    assert found.groups == {
        "answer_type": {"number": {"VqaAccuracy": pytest.approx(0.3)}},
        "question_type": {"how many": {"VqaAccuracy": pytest.approx(0.3)}},
    }
    assert prompt_of(table, "vqav2", item) == "How many?" + SHORT


def test_vqav2_without_its_annotations(ask):
    questions = {"questions": [{"image_id": 42, "question": "How many?", "question_id": 42001}]}
    with pytest.raises(ValueError, match=r"none of v2_mscoco_val2014_annotations.json; it holds v2_OpenEnded"):
        ask("vqav2", {"v2_OpenEnded_mscoco_val2014_questions.json": questions, "val2014/a.jpg": 1})
    notes = {"annotations": [{"question_id": 1, "answers": []}]}
    with pytest.raises(ValueError, match=r"questions 1: \{question_id\} is '42001', which is not in the file of"):
        ask("vqav2", {"v2_mscoco_val2014_annotations.json": notes})


def test_vizwiz(ask, table):
    said = [{"answer": each, "answer_confidence": "yes"} for each in ["red"] * 6 + ["unanswerable"] * 4]
    record = {"image": "v_1.jpg", "question": "What Colour IS it?", "answers": said, "answer_type": "other"}
    (item,) = ask("vizwiz", {"Annotations/val.json": [record], "val/v_1.jpg": 5})
    assert (item.key, len(item.values["answers"]), shades(item)) == ("v_1.jpg", 10, [5])
    assert prompt_of(table, "vizwiz", item) == "What Colour IS it?" + UNANSWERABLE
    assert prompt_of(table, "vizwiz", item, "lmms_eval") == "What colour is it?" + UNANSWERABLE
    assert table("vizwiz").prompts["lmms_eval"].stop == ("ASSISTANT:",)


def test_gqa(ask):
    record = {"question": "Is it red?", "imageId": "n1", "answer": "no", "fullAnswer": "No."}
    (item,) = ask("gqa", {"testdev_balanced_questions.json": {"201": record}, "images/n1.jpg": 30})
    assert (item.key, item.values["answers"], shades(item)) == ("201", ["no"], [30])


def test_gqa_of_the_hub(ask):
    asked = [{"id": str(number), "imageId": "n1", "question": "Q?", "answer": "no"} for number in range(2)]
    files = {
        "testdev_balanced_instructions/testdev-00000-of-00001.parquet": asked,
        "testdev_balanced_images/testdev-00000-of-00001.parquet": [{"id": "n1", "image": embedded(66)}],
    }
    items = ask("gqa", files)
    assert [(item.key, shades(item)) for item in items] == [("0", [66]), ("1", [66])]


TEXT = {"image_id": "f0", "question": "what IS this?", "question_id": 5, "answers": ["nokia"] * 10}


def test_textvqa(ask, table):
    files = {"TextVQA_0.5.1_val.json": {"data": [TEXT]}, "train_images/f0.jpg": 88}
    (item,) = ask("textvqa", files)
    assert (item.key, shades(item)) == ("5", [88])
    assert prompt_of(table, "textvqa", item) == "what IS this?" + SHORT
    assert prompt_of(table, "textvqa", item, "lmms_eval") == "What is this?" + SHORT


@pytest.mark.parametrize(("tokens", "inserted"), [(["NOKIA", "3310"], "\nReference OCR token: NOKIA, 3310"), ([], "")])
def test_textvqa_with_ocr(ask, table, tokens, inserted):
    ocr = {"data": [{"image_id": "f0", "ocr_tokens": tokens}]}
    files = {"TextVQA_0.5.1_val.json": {"data": [TEXT]}, "TextVQA_Rosetta_OCR_v0.2_val.json": ocr}
    (item,) = ask("textvqa_ocr", files | {"train_images/f0.jpg": 88})
    assert prompt_of(table, "textvqa_ocr", item) == "what IS this?" + inserted + SHORT


@pytest.mark.parametrize("inserted", ["\nReference OCR token: NOKIA, 3310", ""])
def test_textvqa_of_llava(ask, table, inserted):
    record = {"question_id": "f0", "image": "f0.jpg", "text": f"What is this?{inserted}{SHORT}", "category": "default"}
    files = {"TextVQA_0.5.1_val.json": {"data": [TEXT]}, "llava_textvqa_val_v051_ocr.jsonl": [record]}
    (item,) = ask("textvqa_ocr", files | {"train_images/f0.jpg": 88})
    assert (item.key, item.values["answers"], shades(item)) == ("5", ["nokia"] * 10, [88])
    assert prompt_of(table, "textvqa_ocr", item) == record["text"]
    with pytest.raises(ValueError, match=r"line 1: TextVQA's own file has no such question about f0"):
        ask("textvqa_ocr", {"llava_textvqa_val_v051_ocr.jsonl": [record | {"text": f"Why?{SHORT}"}]})
    with pytest.raises(ValueError, match=r"line 1, text: a question, 'Reference OCR token:' and a suffix"):
        ask("textvqa_ocr", {"llava_textvqa_val_v051_ocr.jsonl": [record | {"text": "Why?"}]})


def test_chartqa(ask, table):
    record = {"imgname": "1.png", "query": "How much?", "label": "14"}
    files = {"test/test_human.json": [record], "test/test_augmented.json": [record], "test/png/1.png": 12}
    items = ask("chartqa", files)
    assert [item.key for item in items] == ["human/1", "augmented/1"]
    assert [item.values["type"] for item in items] == ["human", "augmented"]
    assert prompt_of(table, "chartqa", items[0]) == "How much?\nAnswer the question with a single word."


def test_a_part_is_missing(ask):
    with pytest.raises(ValueError, match=r"the part 'augmented' is missing: .* none of test/test_augmented.json"):
        ask("chartqa", {"test/test_human.json": [], "test/png/1.png": 12})


def test_pope(ask, table):
    record = {"question_id": 1, "image": "COCO_val2014_1.jpg", "text": "Is there a dog in the image?", "label": "no"}
    files = {f"coco_pope_{name}.json": [record] for name in ("random", "popular", "adversarial")}
    items = ask("pope", files | {"val2014/COCO_val2014_1.jpg": 1})
    assert [item.key for item in items] == ["random/1", "popular/1", "adversarial/1"]
    assert prompt_of(table, "pope", items[0]) == "Is there a dog in the image?" + SHORT
    assert len({item.pictures[0].name for item in items}) == 1


def test_ocrbench(ask, table):
    record = {"dataset_name": "HME100k", "id": 3, "image_path": "a/1.jpg", "question": "Write it.", "type": "HMER"}
    files = {"OCRBench.json": [record | {"answers": "x ^ 2"}], "OCRBench_Images/a/1.jpg": 3}
    (item,) = ask("ocrbench", files)
    assert item.values["answers"] == ["x ^ 2"]
    assert prompt_of(table, "ocrbench", item) == "Write it."
    score = table("ocrbench").metric.clone()
    score.update(["x^2"], *([item.values[value]] for value in table("ocrbench").update.values()))
    assert float(score.compute()) == 1.0
