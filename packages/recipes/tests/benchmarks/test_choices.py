"""Benchmarks of multiple choice, yes and no, and several pages."""

import math

import pytest
from packages.recipes.tests.benchmarks.files import embedded, in_base64, shades

from recipes.benchmarks.derived.mmmu import at_marks

LETTER = "\nAnswer with the option's letter from the given choices directly."


def score(table, name, items, answers):
    """A benchmark's metric of some answers, by the values that its table names."""
    metric = table(name).metric.clone()
    metric.update(answers, **{key: [item.values[value] for item in items] for key, value in table(name).update.items()})
    return metric.compute()


PROBLEM = {"question": "Which one?", "choices": ["cat", "dog"], "answer": 1, "hint": "Look.", "subject": "biology"}


def test_scienceqa(ask, table):
    problems = {
        "1": PROBLEM | {"image": "image.png", "split": "test"},
        "2": PROBLEM | {"image": None, "split": "test", "hint": ""},
        "3": PROBLEM | {"image": None, "split": "train"},
    }
    first, second = ask("scienceqa", {"problems.json": problems, "images/test/1/image.png": 77})
    assert (first.key, shades(first), first.values["answer"]) == ("1", [77], "B")
    assert (second.key, second.pictures, second.values["modality"]) == ("2", (), "text")
    prompts = [table("scienceqa").prompts["llava"].of(item) for item in (first, second)]
    assert prompts[0] == "Context: Look.\nWhich one?\nA. cat\nB. dog" + LETTER
    assert prompts[1] == "Which one?\nA. cat\nB. dog" + LETTER
    assert float(score(table, "scienceqa", [first, second], ["B", "A"])) == 0.5


def test_scienceqa_of_another_split(ask):
    with pytest.raises(ValueError, match=r"none of 1 rows has split test"):
        ask("scienceqa", {"problems.json": {"3": PROBLEM | {"image": None, "split": "train"}}})


def test_seed(ask, table):
    options = {f"choice_{letter}": f"option {letter}" for letter in "abcd"}
    record = {"question_id": "1_0", "question_type_id": 2, "question": "What?", "answer": "C", "data_id": "1_0"}
    questions = [record | options | {"data_type": "image"}, record | options | {"data_type": "video"}]
    (item,) = ask("seed", {"SEED-Bench.json": {"questions": questions}, "SEED-Bench-image/1_0": b""})
    assert table("seed").prompts["lmms_eval"].of(item) == (
        "What?\nA. option a\nB. option b\nC. option c\nD. option d" + LETTER
    )
    assert float(score(table, "seed", [item], ["c."])) == 1


def college(name, options, answer, kind="multiple-choice", picture=None):
    row = {"id": f"validation_{name}", "question": "<image 1> What?", "options": options, "answer": answer}
    pictures = {f"image_{number}": picture if number == 1 else None for number in range(1, 8)}
    return row | {"question_type": kind} | pictures


def test_mmmu(ask, table):
    choice = college("Art_Theory_1", "['a man', \"a dog's\"]", "B", picture=embedded(20))
    numeric = college("Finance_1", "[]", "['3', 'three']", "open", embedded(30))
    files = {"Art_Theory/validation-00000-of-00001.parquet": [choice]}
    first, second = ask("mmmu", files | {"Finance/validation-00000-of-00001.parquet": [numeric]})
    assert (first.values["domain"], first.values["subject"]) == ("Art and Design", "Art_Theory")
    assert table("mmmu").prompts["llava"].of(first) == "<image 1> What?\n\n(A) a man\n(B) a dog's\n\n" + LETTER
    assert table("mmmu").prompts["lmms_eval"].of(first) == "<image>\nWhat?\nA. a man\nB. a dog's\n" + LETTER
    assert table("mmmu").prompts["llava"].of(second) == (
        "<image 1> What?\n\nAnswer the question using a single word or phrase."
    )
    assert (shades(first), shades(second), second.values["answers"]) == ([20], [30], ["3", "three"])
    assert float(score(table, "mmmu", [first, second], ["(B)", "It is 3."])) == 1
    assert float(score(table, "mmmu", [first, second], ["(A)", None])) == 0


@pytest.mark.parametrize(
    ("text", "pictures", "placed"),
    [
        ("<image 1> <image 2> Which?", [1, 2], "<image>\n<image>\nWhich?"),
        ("Is <image 1> like <image 2> ?", [1, 2], "Is<image>like<image>?"),
        ("<image 1> and\nA. <image 2>", [1, 2], "<image>\nand\nA.<image>"),
        ("See <image 1>. In <image 1>, why?", [1], "See<image>. In <image 1>, why?"),
        ("First <image 2>, then <image 1>.", [1, 2], "First <image 2>, then <image 1>."),
        ("See <image 1>.", [1, 2], "See <image 1>."),
        ("See <image 1> and <image 2>.", [1], "See <image 1> and <image 2>."),
        ("Why?", [], "Why?"),
    ],
)
def test_pictures_of_mmmu_where_lmms_eval_has_them(text, pictures, placed):
    """A text that does not name its pictures in their order is unchanged: they come before it."""
    assert at_marks(text, pictures) == placed


def test_an_unknown_subject_of_mmmu(ask):
    with pytest.raises(ValueError, match=r"row 1, id: 'validation_Cooking_1' names no subject"):
        ask("mmmu", {"data/validation-00000-of-00001.parquet": [college("Cooking_1", "[]", "1", picture=embedded(1))]})


def rows_of_mmbench(**changed):
    base = {"index": 5, "question": "What?", "hint": "", "A": "NA", "B": "none", "C": "", "D": "", "answer": "B"}
    rest = {"category": "color", "l2-category": "fine", "split": "dev", "image": in_base64(99)}
    rotated = {"index": 1_000_005, "A": "none", "B": "NA", "answer": "A", "image": "5"}
    return [base | rest | changed, base | rest | changed | rotated]


def test_mmbench(ask, table):
    base, rotated = ask("mmbench", {"mmbench_dev_20230712.tsv": rows_of_mmbench(hint="Look.")})
    assert [shades(item) for item in (base, rotated)] == [[99], [99]]
    assert base.pictures[0].name == rotated.pictures[0].name
    assert base.values["options"] == ["NA", "none"]
    assert table("mmbench").prompts["llava"].of(base) == "Look.\nWhat?\nA. NA\nB. none" + LETTER
    assert table("mmbench").prompts["lmms_eval"].of(base) == (
        "Look. What? There are several options:\nA. NA\nB. none\n" + LETTER
    )
    found = score(table, "mmbench", [base, rotated], ["B", "B"])
    assert {name: float(value) for name, value in found.items()} == {"circular": 0, "vanilla": 1}


def test_mmbench_in_chinese(ask, table):
    base, _ = ask("mmbench_cn", {"mmbench_dev_cn_20231003.tsv": rows_of_mmbench()})
    assert table("mmbench_cn").prompts["llava"].of(base) == "What?\nA. NA\nB. none\n请直接回答选项字母。"
    assert table("mmbench_cn").prompts["lmms_eval"].of(base) == (
        "What? 有如下几个选项：\nA. NA\nB. none\n\n请直接使用所提供的选项字母作为答案回答。"
    )


def test_mmbench_of_another_split(ask):
    with pytest.raises(ValueError, match=r"line 2, split: is 'test', but this benchmark is of 'dev'"):
        ask("mmbench", {"mmbench_dev_20230712.tsv": rows_of_mmbench(split="test")})


def test_mmbench_of_the_hub(ask):
    row = {"index": 5, "question": "What?", "hint": "nan", "A": "x", "B": "y", "C": "nan", "D": "nan", "answer": "B"}
    row |= {"category": "color", "L2-category": "fine", "split": "dev", "image": embedded(12)}
    (item,) = ask("mmbench", {"en/dev-00000-of-00001.parquet": [row]})
    assert (item.values["options"], item.values["hint_line"], item.values["index"]) == (["x", "y"], "", 5)
    assert item.values["l2_category"] == "fine"


SUBTASKS = (
    *("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR"),
    *("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
)
PAIR = "Is it a dog? Please answer yes or no.\tYes\nIs it a cat? Please answer yes or no.\tNo\n"


def mme(apart=("posters", "celebrity", "scene", "landmark", "artwork")):
    files = {}
    for name in SUBTASKS:
        texts, pictures = ("questions_answers_YN/", "images/") if name in apart else ("", "")
        files[f"MME_Benchmark_release_version/{name}/{texts}1.txt"] = PAIR
        files[f"MME_Benchmark_release_version/{name}/{pictures}1.jpg"] = 44
    return files


def test_mme(ask, table):
    items = ask("mme", mme())
    assert len(items) == len({item.key for item in items}) == 28
    assert items[8].values["picture"] == "posters/1.jpg"
    assert shades(items[8]) == [44]
    assert table("mme").prompts["llava"].of(items[0]) == (
        "Is it a dog?\nAnswer the question using a single word or phrase."
    )
    found = score(table, "mme", items, ["Yes", "No"] * 14)
    assert (float(found["perception"]), float(found["cognition"])) == (2000, 800)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("count/1.txt", "One?\tYes\n", r"1.txt: two questions are expected, not 1"),
        (
            "count/1.txt",
            "One? Please answer yes or no.\tYes\nTwo?\tmaybe\n",
            r"1.txt, line 2: a question, a tab, and Yes or No",
        ),
        ("count/2.txt", PAIR, r"2.txt: there is no picture .*/count/2 with .jpg"),
    ],
)
def test_faults_of_mme(ask, name, content, message):
    with pytest.raises(ValueError, match=message):
        ask("mme", mme() | {f"MME_Benchmark_release_version/{name}": content})


def test_mmvet(ask, table):
    record = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1<OR>-5", "capability": ["ocr", "math"]}
    (item,) = ask("mmvet", {"mm-vet.json": {"v1_0": record}, "images/v1_0.png": 7})
    assert (item.key, item.values["capability"], shades(item)) == ("v1_0", ["ocr", "math"], [7])
    assert table("mmvet").prompts["lmms_eval"].of(item) == (
        "First please perform reasoning, and think step by step to provide best answer to the following question: "
        "\n\nWhat is x?"
    )
    assert float(score(table, "mmvet", [item], [" "])) == 0


def test_multidocvqa(ask, table):
    record = {"questionId": 9, "question": "Q?", "answers": ["a"], "page_ids": ["d_p0", "d_p1"], "data_split": "val"}
    (item,) = ask("multidocvqa", {"val.json": {"data": [record]}, "images/d_p0.jpg": 10, "images/d_p1.jpg": 90})
    assert shades(item) == [10, 90]
    found = score(table, "multidocvqa", [item], ["A"])
    assert {name: float(value) for name, value in found.items()} == {"accuracy": 1, "anls": 1}


def test_multidocvqa_of_the_hub(ask):
    pages = {f"image_{number}": embedded(20 * number) if number < 4 else None for number in range(1, 21)}
    row = {"questionId": "9", "question": "Q?", "answers": "['a', \"b's\"]"} | pages
    (item,) = ask("multidocvqa", {"data/val-00000-of-00001.parquet": [row]})
    assert (item.values["answers"], shades(item)) == (["a", "b's"], [20, 40, 60])


def test_ocrbench_v2_core(ask, table):
    record = {"dataset_name": "x", "image_path": "EN_part/1.jpg", "question": "Q?", "answers": ["12"]}
    records = [
        record | {"id": 1, "type": "text counting en", "eval": "regression"},
        record | {"id": 2, "type": "math QA en", "eval": "multiple choice", "answers": ["B"]},
        record | {"id": 3, "type": "diagram QA en", "answers": ["a cat"]},
        record | {"id": 4, "type": "table parsing en"},
    ]
    items = ask("ocrbench_v2_core", {"OCRBench_v2.json": records, "EN_part/1.jpg": 1})
    assert [item.key for item in items] == ["1", "2", "3"]
    found = score(table, "ocrbench_v2_core", items, ["It is 9.", "B.", "a cat sits"])
    groups = {"en/mathematical_calculation": (0.75 + 1) / 2, "en/visual_text_understanding": 1.0}
    assert math.isclose(float(found.pop("core")), sum(groups.values()) / 2, abs_tol=1e-6)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(groups)
