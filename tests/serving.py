"""A server in a thread, and pictures as clients send them."""

import base64
import io
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import torch
from openai import OpenAI
from PIL import Image
from torch import nn

from foveal.connectors import PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import UhdPlan, VisionLanguageModel, byte_tokenizer, llama
from recipes.serving.fetching import Fetcher
from recipes.serving.server import Server
from recipes.serving.service import Service


def tiny_model(seed=5, language_model=None, plan=None, **options):
    """A LLaVA-UHD with random weights, or a model with another plan; four tokens for each view."""
    torch.manual_seed(seed)
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 24, 7, 28),
        lambda i, o: PerceiverResampler(i, o, queries=4, heads=2),
        language_model or llama(260, width=32, depth=2, heads=2, mlp_width=48, context=600),
        byte_tokenizer(),
        plan or UhdPlan(28, 7, 4),
        **({"system": "", "max_length": 500} | options),
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def encoded(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def data_url(image):
    return f"data:image/png;base64,{base64.b64encode(encoded(image)).decode()}"


def asked(text, *images):
    """One user message, pictures first."""
    parts = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


QUESTIONS = [
    ("What?", [picture()]),
    ("And this?", []),
    ("Both?", [picture(), picture(20, 90, seed=1)]),
    ("?", [picture()]),
]


class Running:
    """A server that listens, and clients for it."""

    def __init__(self, service, port):
        self.service, self.port = service, port
        self.url = f"http://127.0.0.1:{port}"

    def client(self, key="none"):
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def ask(self, text, *images, model="uhd", **options):
        """The response to one user message, or its chunks if `stream` is among the options."""
        return self.client().chat.completions.create(model=model, messages=asked(text, *images), **options)

    def metric(self, name, **labels):
        registry = next(iter(self.service.workers.values())).metrics.registry
        return registry.get_sample_value(name, labels) or 0.0


@contextmanager
def running(models, **options):
    """A server for these models; it has ended after the block."""
    defaults = {"max_new_tokens": 8, "max_batch": 4, "max_requests": 16, "cache_bytes": 10**6, "fetcher": Fetcher()}
    service = Service(models, **(defaults | options))
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(service.guarded, service.state)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    service.start()
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(service, listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
        service.stop()
        assert not thread.is_alive()


class Gate:
    """Lets the tokens of a running batch pass one by one."""

    def __init__(self, monkeypatch):
        from foveal.models.generation.running_batch import RunningBatch

        self._open, self._tokens = False, threading.Semaphore(0)
        step = RunningBatch.step

        def waiting(batch, tokens):
            if not self._open:
                assert self._tokens.acquire(timeout=20)
            return step(batch, tokens)

        monkeypatch.setattr(RunningBatch, "step", waiting)

    def let(self, tokens):
        for _ in range(tokens):
            self._tokens.release()

    def open(self):
        self._open = True
        self._tokens.release()


def until(condition, what="it"):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.005)
