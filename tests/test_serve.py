"""Answers over HTTP, asked for with OpenAI's client: those of Python, together, and freed when nobody waits."""

import re
from pathlib import Path

import httpx
import pytest
from tests.serving import QUESTIONS, asked, data_url, picture, running, tiny_model

from foveal.models import IMAGE_TOKEN_ID, Turn, answer


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def served(model):
    with running({"uhd": model}) as server:
        yield server


def test_an_answer_is_that_of_python(served, model):
    for text, pictures in QUESTIONS:
        given = served.ask(text, *pictures, max_tokens=12)
        (choice,) = given.choices
        assert choice.message.content == answer(model, pictures, text, max_new_tokens=12)
        assert choice.finish_reason in ("stop", "length")


def test_usage_counts_text_and_visual_tokens(served, model):
    usage = served.ask("What?", picture()).usage
    sample = model.processor.encode_prompt([picture()], [Turn("user", "<image>\nWhat?")])
    visual = int((sample.input_ids == IMAGE_TOKEN_ID).sum())
    assert usage.prompt_tokens == len(sample.input_ids)
    assert usage.prompt_tokens_details.image_tokens == visual
    assert usage.prompt_tokens_details.text_tokens == len(sample.input_ids) - visual
    assert 1 <= usage.completion_tokens <= 8
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_streamed_pieces_are_the_answer(served, model):
    for text, pictures in QUESTIONS:
        usage_too = {"stream": True, "stream_options": {"include_usage": True}}
        stream = served.ask(text, *pictures, max_completion_tokens=12, **usage_too)
        first, *pieces, end, usage = stream
        assert first.choices[0].delta.role == "assistant"
        assert "".join(each.choices[0].delta.content for each in pieces) == answer(
            model, pictures, text, max_new_tokens=12
        )
        assert end.choices[0].finish_reason in ("stop", "length")
        assert usage.choices == []
        assert usage.usage.completion_tokens <= 12
        assert len({each.id for each in (first, *pieces, end, usage)}) == 1


def test_a_conversation(served, model):
    messages = [
        {"role": "system", "content": "Be brief."},
        *asked("What?", picture()),
        {"role": "assistant", "content": "A page.", "refusal": None},
        {"role": "user", "content": "And now?"},
    ]
    from foveal.models import generate

    turns = [
        Turn("system", "Be brief."),
        Turn("user", "<image>\nWhat?"),
        Turn("assistant", "A page."),
        Turn("user", "And now?"),
    ]
    batch = model.processor.collate([model.processor.encode_prompt([picture()], turns)], side="left")
    given = served.client().chat.completions.create(model="uhd", messages=messages, max_tokens=9)
    assert [given.choices[0].message.content] == generate(model, batch, max_new_tokens=9)


def test_an_answer_ends_at_a_stop_text(served):
    def ask(**options):
        (choice,) = served.ask("What?", picture(), max_tokens=12, **options).choices
        return choice.message.content, choice.finish_reason

    whole, _ = ask()
    stop = whole[3:5]
    assert ask(stop=stop) == (whole[: whole.index(stop)].rstrip(), "stop")
    assert ask(stop=["never", stop]) == ask(stop=stop)


def test_a_seed_repeats_a_sampled_answer(served):
    def ask(seed):
        given = served.ask("What?", picture(), temperature=1.5, top_p=0.9, seed=seed)
        return given.choices[0].message.content

    answers = {ask(seed) for seed in (1, 2, 3)}
    assert len(answers) > 1
    assert {ask(seed) for seed in (1, 2, 3)} == answers


def test_a_picture_is_encoded_once(model):
    def ask(server, image):
        return server.ask("What?", image).choices[0].message

    def encoded(server):
        return server.metric("foveal_pictures_total", model="uhd", **{"from": "encoded"})

    with running({"uhd": model}) as kept, running({"uhd": model}, cache_bytes=0) as unkept:
        first = ask(kept, picture()).content
        views = encoded(kept)
        assert ask(kept, picture()).content == first == ask(unkept, picture()).content == ask(unkept, picture()).content
        assert encoded(kept) == views
        assert encoded(unkept) == 2 * views
        ask(kept, picture(seed=3))
        assert encoded(kept) == 2 * views


def test_two_checkpoints(model):
    other = tiny_model(seed=9)
    with running({"one": model, "two": other}) as server:
        client = server.client()
        assert [each.id for each in client.models.list()] == ["one", "two"]
        assert client.models.retrieve("two").id == "two"
        for name, each in (("one", model), ("two", other)):
            given = server.ask("What?", picture(), model=name, max_tokens=9)
            assert given.model == name
            assert given.choices[0].message.content == answer(each, picture(), "What?", max_new_tokens=9)


def test_metrics_are_prometheus(served):
    served.ask("What?", picture())
    text = httpx.get(f"{served.url}/metrics").text
    for name in ("foveal_answers_total", "foveal_tokens_total", "foveal_first_token_seconds_bucket", "foveal_waiting"):
        assert f"{name}{{" in text
    assert 'kind="visual",model="uhd"' in text
    assert data_url(picture()) not in text


def test_the_client_of_the_docs(model, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/serve.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    picture().save("page.png")
    with running({"uhd/version_0": model}) as server:
        exec(block.replace("http://127.0.0.1:8000", server.url), {})
    assert capsys.readouterr().out == answer(model, picture(), "Read.", max_new_tokens=64)
