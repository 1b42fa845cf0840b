"""Pages, questions and batches."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.plugins import DoublePrecision
from PIL import Image

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import IGNORE_INDEX, Processor, Turn, UhdPlan, byte_tokenizer
from foveal.models.prompts.token_count import TokenCount
from recipes.data.bad_samples import BadSamples
from recipes.data.dataset import (
    Filled,
    LeftOut,
    PageDataset,
    QuestionCollator,
    RecordDataset,
    RecordQuestions,
    SampleCollator,
    as_filler,
    untrained,
)
from recipes.data.eval_batch import blanked, collate_questions, questions_of
from recipes.data.index.open_records import open_records
from recipes.data.pages import PageSettings, draw_page


@pytest.fixture
def processor():
    plan = UhdPlan(64, 8, 6)
    encoder = VisionTransformer(8, 1, 1, 8, 8, 64, layers=(-1,))
    count = TokenCount(encoder, AdaptivePool(8, 8, rows=2, columns=2), plan)
    return Processor(byte_tokenizer(), plan, count=count, system="")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1))
def test_a_page_follows_from_its_number(seed, index, progress):
    ours = PageSettings()
    page, again = (draw_page(ours, seed, index, progress=progress) for _ in range(2))
    assert page.image.tobytes() == again.image.tobytes()
    assert page.turns == again.turns
    answer = page.turns[1].text
    assert answer.isdigit()
    assert 1 <= len(answer) <= 4
    dark = sum(value < 128 for value in page.image.convert("L").tobytes())
    assert dark > 5 * len(answer)  # the number is on the page
    edge = [page.image.getpixel((x, y)) for x in (0, page.image.width - 1) for y in range(page.image.height)]
    assert all(pixel == (255, 255, 255) for pixel in edge)  # and all of it


def test_pages_widen():
    easy = {draw_page(PageSettings(), 0, index, progress=0.0).image.size for index in range(50)}
    hard = {draw_page(PageSettings(), 0, index).image.size for index in range(200)}
    assert easy == {PageSettings().easy_size}
    assert hard >= set(PageSettings().sizes)  # and some that were enlarged


def test_pages_as_samples(processor):
    dataset = PageDataset(PageSettings(), processor, seed=1, size=10, easy_until=0.3, hard_from=0.7)
    assert len(dataset) == 10
    sample = dataset[9]
    assert sample.key == "page 9"
    assert torch.equal(sample.input_ids, dataset[9].input_ids)


def test_settings_that_contradict():
    with pytest.raises(ValueError, match="digits: the smallest is at least 1 and at most the largest, not 3 and 2"):
        PageSettings(digits=(3, 2))


SKIP = BadSamples("skip", 1.0)
TURNS = (Turn("user", "<image>\nA?"), Turn("assistant", "a"), Turn("user", "B?"), Turn("assistant", "b"))


def test_every_answer_is_a_question(processor):
    picture = Image.new("RGB", (64, 64))
    first, second = questions_of("r", [picture], TURNS)
    assert (first.key, second.key) == ("r#1", "r#2")
    assert (first.references, second.references) == (("a",), ("b",))
    assert second.turns == TURNS[:3]
    batch = collate_questions([first, second], processor)
    assert batch.questions == ("A?", "B?")
    assert batch.batch.attention_mask[:, -1].all()
    assert len(batch.batch.views) == 2
    assert all((view == 255).all() for view in blanked(batch).batch.views)
    assert not (batch.batch.views[0] == 255).any()
    assert batch.to("cpu").keys == batch.keys
    doubled = DoublePrecision().convert_input(batch)
    assert doubled.pictures == batch.pictures
    assert doubled.pictures[0] is not None


def written(folder, *names):
    talk = [{"from": "human", "value": "<image>\nA?"}, {"from": "gpt", "value": "a"}]
    path = folder / "data.json"
    path.write_text(json.dumps([{"id": name[0], "image": name, "conversations": talk} for name in names]))
    return path


def test_bad_pictures_are_raised_or_left_out(tmp_path, processor):
    bad = tmp_path / "bad.jpg"
    for name in ("good.jpg", "bad.jpg"):
        Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / name)
    bad.write_bytes(bad.read_bytes()[:-1000])  # its header is whole
    records = open_records(written(tmp_path, "good.jpg", "bad.jpg"))
    with pytest.raises(ValueError, match=r"b: .*bad\.jpg: damaged or truncated picture"):
        RecordDataset(records, processor)[1]
    skipping = RecordDataset(records, processor, policy=SKIP)
    batch = SampleCollator(processor)([skipping[0], skipping[1]])
    assert batch.keys == ("g",)
    (message,) = batch.left_out
    assert message.startswith(f"{tmp_path}/data.json, record 2 (id b): {bad}: damaged")
    with pytest.raises(ValueError, match=r"b: .*bad\.jpg: damaged"):
        RecordQuestions(records)[1]
    asked = RecordQuestions(records, policy=SKIP)
    questions = QuestionCollator(processor, SKIP)([asked[1], asked[0]])
    assert (questions.keys, questions.counted, questions.left_out) == (("g",), 1, (message,))


def test_a_picture_that_is_gone_since_it_was_indexed(tmp_path, processor):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    records = open_records(written(tmp_path, "a.png"))
    (tmp_path / "a.png").unlink()
    with pytest.raises(ValueError, match=r"data\.json, record 1 \(id a\), image: there is no file"):
        RecordDataset(records, processor)[0]
    assert RecordDataset(records, processor, policy=SKIP)[0].message.endswith("a.png")


def test_a_batch_of_which_nothing_is_left_teaches_nothing(processor):
    bad = LeftOut("a: damaged")
    batch = SampleCollator(processor)([bad, bad])
    assert (batch.labels == IGNORE_INDEX).all()
    assert batch.views
    assert batch.left_out == ("a: damaged", "a: damaged")
    questions = QuestionCollator(processor, SKIP)([bad])
    assert (questions.counted, questions.left_out) == (0, ("a: damaged",))


def test_a_filler_of_what_is_left_out_is_not_counted_twice():
    dataset = [LeftOut("a: damaged")]
    assert Filled(dataset, untrained)[~0] == Filled(dataset, as_filler)[~0] == LeftOut()


def test_questions_that_do_not_fit(processor):
    picture = Image.new("RGB", (64, 64))
    fits, long = questions_of("r", [picture], (Turn("user", "A?"), Turn("assistant", "a"), *TURNS[:2]))
    processor.max_length = 20
    filler = as_filler(long)
    with pytest.raises(ValueError, match="r#2: the sample has"):
        QuestionCollator(processor)([fits, long])
    batch = QuestionCollator(processor, SKIP)([filler, long, fits])
    assert (batch.keys, batch.counted) == (("r#1",), 1)
    (message,) = batch.left_out
    assert message.startswith("r#2: the sample has")


def test_questions_about_receipts(receipts, processor):
    records = open_records(receipts / "val.json")
    questions = RecordQuestions(records)
    assert len(questions) > len(records)
    processor.max_length = 4000
    batch = collate_questions([questions[0], questions[len(questions) - 1]], processor)
    assert len(batch.references) == 2
    assert RecordDataset(records, processor)[1].views
