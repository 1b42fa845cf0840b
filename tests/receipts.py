"""Drawn receipts in LLaVA's format: pictures of several shapes, questions about them, a text-only record."""

import json
import random

import pytest
from PIL import Image, ImageDraw, ImageFont

ITEMS = ("Coffee", "Tea", "Bread", "Milk", "Rice", "Soap", "Pen", "Paper")
QUESTION = "What is the total amount?"


def drawn(rng):
    """A receipt, its lines and its total."""
    prices = {item: rng.randint(50, 1999) for item in rng.sample(ITEMS, rng.randint(2, 5))}
    total = f"{sum(prices.values()) / 100:.2f}"
    lines = ["CORNER SHOP", *(f"{item} {price / 100:.2f}" for item, price in prices.items()), f"TOTAL {total}"]
    image = Image.new("RGB", (rng.randint(150, 300), 40 * len(lines) + rng.randint(20, 200)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((10, 10 + 40 * number), line, fill="black", font=ImageFont.load_default(16))
    return image, lines, total


def turns(*texts):
    return [{"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)]


@pytest.fixture
def receipts(tmp_path):
    """A folder with images/, train.json and val.json with questions, and pages.json with the full texts."""
    folder, rng = tmp_path / "receipts", random.Random(0)
    (folder / "images").mkdir(parents=True)
    pages = []
    for name, number in (("train", 8), ("val", 4)):
        records = [{"id": f"{name} text", "conversations": turns("What is a receipt?", "What a shop hands out.")}]
        for index in range(number):
            image, lines, total = drawn(rng)
            file = f"images/{name}_{index}.jpg"
            image.save(folder / file, quality=90)
            asked = turns(f"<image>\n{QUESTION}", total, "Which shop is it from?", lines[0])
            records.append({"id": f"{name} {index}", "image": file, "conversations": asked})
            pages.append({"id": file, "image": file, "conversations": turns("<image>", "\n".join(lines))})
        (folder / f"{name}.json").write_text(json.dumps(records))
    (folder / "pages.json").write_text(json.dumps(pages))
    return folder
