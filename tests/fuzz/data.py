"""Pictures and records, small and valid, and what reads them."""

import io
import json
import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tests.fuzz.mutate import changed_bytes, changed_value

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, UhdPlan, VisionLanguageModel, byte_tokenizer, image_size, llama, read_image

Read = Callable[[random.Random], Callable[[], object]]
"""Makes one input, and returns what reads it."""


def small_model() -> VisionLanguageModel:
    """A model of a few thousand weights."""
    torch.manual_seed(0)
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        llama(260, width=16, depth=1, heads=2, mlp_width=16, context=256),
        byte_tokenizer(),
        PadToSquare(16),
        max_length=250,
    )


def encoded_pictures() -> list[bytes]:
    """A picture in every format, and in what is special about them."""
    values = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    colour = Image.fromarray(values)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}),
        (colour.quantize(16), "PNG", {"transparency": 3}),
        (deep, "PNG", {}),
        (colour.convert("L"), "PNG", {"exif": exif}),
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour.convert("L"), "JPEG", {}),
        (colour, "WEBP", {}),
        (colour, "WEBP", {"lossless": True}),
        (colour, "BMP", {}),
        (colour.quantize(16), "BMP", {}),
        (colour.quantize(16), "GIF", {"save_all": True, "append_images": [colour.quantize(8)]}),
    ]
    found = []
    for picture, kind, options in kinds:
        stream = io.BytesIO()
        picture.save(stream, kind, **options)
        found.append(stream.getvalue())
    return found


def with_checksums(content: bytes) -> bytes:
    """A PNG with the right checksum of every chunk, so that what was changed is read; anything else as it is."""
    place, found = 8, content[:8]
    while content.startswith(b"\x89PNG") and len(header := content[place : place + 8]) == 8:
        length = int.from_bytes(header[:4])
        body = content[place + 8 : place + 8 + length]
        found += header + body + zlib.crc32(header[4:] + body).to_bytes(4)
        place += 12 + length
    return found if place > 8 else content


def pictures(_folder: Path) -> Read:
    from foveal.models.views.draft import read_draft

    valid, plan = encoded_pictures(), UhdPlan(28, 14, draft=True)

    def make(draw: random.Random) -> Callable[[], object]:
        content = changed_bytes(draw.choice(valid), draw)
        if content[12:16] == b"IHDR" and draw.random() < 0.2:
            sides = draw.choice(((7000, 7000), (50_000_000, 1), (1, 65_535), (2**31, 2**31), (0, 5), (7071, 7071)))
            content = content[:16] + b"".join(side.to_bytes(4) for side in sides) + content[24:]
        if draw.random() < 0.5:
            content = with_checksums(content)
        readers = (image_size, read_image, lambda data: read_draft(data, plan.sharpest))
        reader = draw.choice(readers)
        return lambda: reader(content)

    return make


def said(role: str, text: Any, keys: tuple[str, str] = ("role", "content")) -> dict[str, Any]:
    return {keys[0]: role, keys[1]: text}


LLAVA = ("from", "value")
PARTS = [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "Read."}]
RECORDS: list[dict[str, Any]] = [
    {"id": "a", "image": "a.png", "conversations": [said("human", "<image>\nWhat?", LLAVA), said("gpt", "A.", LLAVA)]},
    {"messages": [said("system", "Be brief."), said("user", "Why?"), said("assistant", "So.")]},
    {"images": ["a.png", "b/c.jpg"], "messages": [said("user", "Which?"), said("assistant", "This.")]},
    {"messages": [said("user", PARTS), said("assistant", [{"type": "text", "text": "No smoking."}])]},
    {"image": "b/c.jpg", "caption": "A cat."},
    {"image": None, "text": "A dog."},
]
QUESTIONS = [{"id": 7, "image": "a.png", "question": "Read."}, {"images": ["a.png", "b/c.jpg"], "question": "What?"}]


def conversations(folder: Path) -> Read:
    from recipes.answering.questions import QuestionFile, Unusable
    from recipes.data import LlavaData
    from recipes.data.dataset import RecordDataset, RecordQuestions

    images = folder / "images"
    (images / "b").mkdir(parents=True)
    encoded = encoded_pictures()
    (images / "a.png").write_bytes(encoded[0])
    (images / "b/c.jpg").write_bytes(encoded[5])
    # Beside the image folder, where every name that leads out of it would find a valid picture.
    secret = folder.parent / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "secret.png").write_bytes(encoded[0])
    os.symlink(secret / "secret.png", images / "link.png")
    os.symlink(secret, images / "linked")
    (images / "secret").mkdir()
    processor = small_model().processor

    def train(path: Path) -> None:
        data = LlavaData(str(path), images=str(images), val_path=str(path), val_images=str(images), workers=0)
        dataset = RecordDataset(data.records, processor)
        assert data.questions is not None
        for items in (dataset, RecordQuestions(data.records)):
            for number in range(len(items)):
                items[number]

    def make(draw: random.Random) -> Callable[[], object]:
        asked = draw.random() < 0.2
        records: Any = QUESTIONS if asked else draw.sample(RECORDS, draw.randint(1, 3))
        if draw.random() < 0.75:
            records = changed_value(records, draw)
        lines = isinstance(records, list) and draw.random() < 0.5
        text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
        content = text.encode("utf-8", "surrogatepass")
        if draw.random() < 0.3:
            content = changed_bytes(content, draw)
        path = folder / f"{draw.randrange(10**9)}.json"
        path.write_bytes(content)
        if asked:
            return lambda: QuestionFile(path, images, Unusable()).read()
        return lambda: train(path)

    return make
