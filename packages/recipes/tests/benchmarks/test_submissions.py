"""What servers, judges and the authors' evaluations take."""

import json
import re

import pytest
from packages.recipes.tests.benchmarks.files import in_base64, shades

from recipes.benchmarks.item import Item
from recipes.benchmarks.judged import judged_scores

SHORT = "\nAnswer the question using a single word or phrase."
UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'." + SHORT


@pytest.fixture
def sent(table, tmp_path):
    """Writes a submission and reads it."""

    def write(name, items, answers):
        submission = table(name).submission
        path = tmp_path / "out" / submission.file
        path.parent.mkdir(exist_ok=True)
        submission.write(items, answers, path)
        return json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else path

    return write


def items(*keys, **values):
    return [Item(key, values, where=f"a.json, record {key}") for key in keys]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vqav2_test", [{"question_id": 7, "answer": "2 it 's"}, {"question_id": 8, "answer": ""}]),
        ("textvqa_test", [{"question_id": 7, "answer": "2 it 's"}, {"question_id": 8, "answer": ""}]),
        ("vizwiz_test", [{"image": "7", "answer": "2 it 's"}, {"image": "8", "answer": ""}]),
        ("docvqa_test", [{"questionId": 7, "answer": "The two, it's."}, {"questionId": 8, "answer": ""}]),
        (
            "multidocvqa_test",
            [
                {"questionId": 7, "answer": "The two, it's.", "answer_page": None},
                {"questionId": 8, "answer": "", "answer_page": None},
            ],
        ),
        ("gqa", [{"questionId": "7", "prediction": "the two, it's"}, {"questionId": "8", "prediction": ""}]),
        ("mmvet", {"7": "The two, it's.", "8": ""}),
    ],
)
def test_answers(sent, name, wanted):
    assert sent(name, items("7", "8"), ["The two, it's.", None]) == wanted


def test_an_id_that_is_no_number(sent):
    with pytest.raises(ValueError, match=r"a.json, record x: the server takes whole numbers as ids, not 'x'"):
        sent("docvqa_test", items("x"), ["a"])


def test_letters(sent):
    asked = items("a", "b", "c", options=["x", "y"])
    assert sent("egoschema_full", asked, ["The answer is B.", "none", None]) == {"a": 1, "b": -1, "c": -1}
    mixed = [*asked, *items("open", options=[])]
    assert sent("mmmu_test", mixed, ["(B)", "", None, "3 cm"]) == {"a": "B", "b": "", "c": "", "open": "3 cm"}


def test_dictionaries_within_each_other(sent):
    asked = [Item(f"11/{number}", {"video": "11", "id": number}) for number in (1, 2)]
    assert sent("nextqa_oe", asked, ["go", None]) == {"11": {"1": "go", "2": ""}}


def test_for_judges(sent):
    path = sent("msvd_qa", items("7", question="who?", answers=["man"]), ["A man"])
    assert json.loads(path.read_text()) == {"id": "7", "question": "who?", "answer": "man", "prediction": "A man"}


def test_files_of_mme(sent):
    shown = {"subtask": "OCR", "picture": "OCR/1.jpg", "original": "Is it? Please answer yes or no.", "answer": "Yes"}
    asked = [Item("a", shown), Item("b", shown | {"picture": "OCR/2.jpg"}), Item("c", shown | {"answer": "No"})]
    folder = sent("mme", asked, ["Yes,\n\tindeed", "No", None])
    assert [path.name for path in folder.iterdir()] == ["OCR.txt"]
    assert (folder / "OCR.txt").read_text().splitlines() == [
        "1.jpg\tIs it? Please answer yes or no.\tYes\tYes, indeed",
        "1.jpg\tIs it? Please answer yes or no.\tNo\t",
        "2.jpg\tIs it? Please answer yes or no.\tYes\tNo",
    ]


def test_the_table_of_mmbench(sent, ask, table):
    row = {"index": 5, "question": "=What?", "hint": "", "A": "x", "B": "y", "C": "", "D": ""}
    row |= {"category": "c", "l2-category": "f", "split": "test", "image": in_base64(9)}
    found = list(ask("mmbench_test", {"mmbench_test_20230712.tsv": [row]}, held_back=True))
    assert "answer" not in found[0].values
    path = sent("mmbench_test", found, ["=1+1\x07"])
    book = pytest.importorskip("openpyxl").load_workbook(path)
    rows = [[cell.value for cell in line] for line in book.active.iter_rows()]
    assert rows == [
        ["index", "question", "A", "B", "C", "D", "prediction"],
        [5, "=What?", "x", "y", None, None, "=1+1 "],
    ]
    assert [cell.data_type for cell in book.active[2]] == ["n", "s", "s", "s", "n", "n", "s"]


def test_questions_without_answers(ask, table):
    asked = {"question": "What IS it?", "question_id": 7, "image_id": 4}
    files = {"v2_OpenEnded_mscoco_test2015_questions.json": {"questions": [asked]}}
    (item,) = ask("vqav2_test", files | {"test2015/COCO_test2015_000000000004.jpg": 1}, held_back=True)
    assert (item.key, set(item.values)) == ("7", {"question", "id"})
    signs = {"data": [{"question_id": 5, "image_id": "f0", "question": "what IS this?", "set_name": "test"}]}
    (item,) = ask("textvqa_test", {"TextVQA_0.5.1_test.json": signs, "test_images/f0.jpg": 66}, held_back=True)
    assert (item.key, set(item.values), shades(item)) == ("5", {"question", "id", "sentence"}, [66])
    pages = {"data": [{"questionId": 9, "question": "Q?", "page_ids": ["d_p0"], "data_split": "test"}]}
    (item,) = ask("multidocvqa_test", {"test.json": pages, "images/d_p0.jpg": 1}, held_back=True)
    assert item.key == "9"


@pytest.mark.parametrize(
    ("name", "file", "ending"),
    [
        ("vqav2_testdev", "llava_vqav2_mscoco_test-dev2015.jsonl", SHORT),
        ("vizwiz_test", "llava_test.jsonl", UNANSWERABLE),
    ],
)
def test_question_files_of_llava(ask, table, name, file, ending):
    record = {"question_id": "7", "image": "7.jpg", "text": f"What IS it?{ending}", "category": "default"}
    folder = "test2015" if name.startswith("vqav2") else "test"
    (item,) = ask(name, {file: [record], f"{folder}/7.jpg": 1}, held_back=True)
    assert table(name).prompts["llava"].of(item) == record["text"]
    with pytest.raises(ValueError, match=r"line 1, text: should end in"):
        ask(name, {file: [record | {"text": "What?"}]}, held_back=True)


def test_judged_scores(tmp_path):
    asked = [Item("v1_0", {"capability": ["ocr", "math"]}), Item("v1_1", {"capability": ["ocr"]})]
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"v1_0": [1.0, 0.5], "v1_1": 0.25}))
    assert judged_scores(path, asked) == {"total": 50, "math": 75, "ocr": 50}
    faults = [
        ("[", "not JSON"),
        ("[]", "a dictionary of scores by id is expected"),
        ('{"v1_0": 1}', "1 of 2 questions have no score, such as 'v1_1'"),
        ('{"v1_0": 1, "v1_1": 1, "x": 1}', "'x' is no question"),
        ('{"v1_0": 1, "v1_1": 7}', "'v1_1': a score of 0 to 1 is expected, or a list of them, not 7"),
        ('{"v1_0": 1, "v1_1": []}', "'v1_1': a score of 0 to 1"),
    ]
    for text, message in faults:
        path.write_text(text)
        with pytest.raises(ValueError, match=re.escape(message)):
            judged_scores(path, asked)
