"""`python -m recipes.serve` as a process: what it prints, a key from the environment, and its end."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import pytest
from tests.serving import asked, picture, tiny_model, until
from tests.test_chat import parrot

from foveal import reader
from foveal.models import answer, save
from recipes.command_line.serve_options import serve_options

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@contextmanager
def started(tmp_path, *words, **environment):
    command = [sys.executable, "-m", "recipes.serve", *map(str, words), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT | environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        line = ""
        while "serving " not in line:
            line = process.stderr.readline()
            assert line, process.communicate()
        yield process, re.search(r"http://\S+(?=/v1)", line)[0], line
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_two_checkpoints_and_a_key(tmp_path):
    models = {"one": tiny_model(), "two": tiny_model(seed=9)}
    for name, model in models.items():
        save(model, tmp_path / name)
    with started(tmp_path, "one", "--checkpoint", "two", FOVEAL_API_KEY="secret") as (process, url, line):
        assert line == f"serving one, two at {url}/v1; Ctrl-C ends\n"
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret")
        for name, model in models.items():
            given = client.chat.completions.create(model=name, messages=asked("What?", picture()), max_tokens=6)
            assert given.choices[0].message.content == answer(model, picture(), "What?", max_new_tokens=6)
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=f"{url}/v1", api_key="no", max_retries=0).models.list()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_sigterm_lets_answers_end(tmp_path):
    save(parrot(), tmp_path / "model")
    with started(tmp_path, "model") as (process, url, _), ThreadPoolExecutor(1) as pool:
        body = {"model": "model", "messages": asked("What?"), "max_tokens": 3000}

        def post(body):
            return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)

        long = pool.submit(post, body)
        until(lambda: 'foveal_running{model="model"} 1.0' in httpx.get(f"{url}/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/health").status_code == 503)
        refused = post(body | {"max_tokens": 1})
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "stopping"
        assert long.result().json()["usage"]["completion_tokens"] == 3000
        assert process.wait(30) == 0
        assert process.stderr.read() == "stopping after 1 answers; once more: at once\n"


@pytest.mark.slow
def test_a_second_sigterm_refuses_what_is_not_answered(tmp_path):
    save(parrot(), tmp_path / "model")
    with started(tmp_path, "model") as (process, url, _), ThreadPoolExecutor(1) as pool:
        body = {"model": "model", "messages": asked("What?"), "max_tokens": 3000}
        long = pool.submit(httpx.post, f"{url}/v1/chat/completions", json=body, timeout=120)
        until(lambda: 'foveal_running{model="model"} 1.0' in httpx.get(f"{url}/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/health").status_code == 503)
        process.send_signal(signal.SIGTERM)
        refused = long.result()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert process.wait(30) == 0
        assert process.stderr.read() == "stopping after 1 answers; once more: at once\n"


@pytest.mark.slow
def test_a_port_that_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = [sys.executable, "-m", "recipes.serve", "nowhere", "--port", str(port)]
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1, port {port} (Address already in use): give another" in done.stderr
    assert len(done.stderr.splitlines()) <= 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the model, as the first argument or with --checkpoint"),
        (["a/b", "--port", "70000"], "--port is 70000: it must be from 0 to 65535"),
        (["a/b", "--max_batch", "0"], "--max_batch is 0: it must be at least 1"),
        (["a/b", "--allow_url", "https://a.example.com"], "--allow_url takes a host like pictures.example.com"),
        (["x/model", "y/model"], "two checkpoints would both be called model"),
        (["a/b", "--allow_urls", "a"], "there is no option --allow_urls; did you mean --allow_url?"),
    ],
)
def test_wrong_usage(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("x/model", "y/model"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(reader, "path", lambda: tmp_path / "not_installed")
    monkeypatch.setattr(sys, "argv", ["serve", *words])
    with pytest.raises(SystemExit, match="2"):
        serve_options()
    assert message in capsys.readouterr().err


def test_names_of_models(tmp_path, monkeypatch):
    """Hub names stay; folders that every run has say nothing alone."""
    for name in ("mine", "runs/uhd/version_0/checkpoint", "states/step-00000004"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = ["serve", "mine", "runs/uhd/version_0/checkpoint", "--checkpoint", "states/step-00000004", "a/b"]
    monkeypatch.setattr(sys, "argv", words)
    names = ["mine", "uhd/version_0/checkpoint", "a/b", "states/step-00000004"]
    assert sorted(serve_options().checkpoints) == sorted(names)
