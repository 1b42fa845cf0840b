"""Builds a model of named parts and trains it for a step, or says why the parts are refused."""

import re

import numpy as np
import torch
from packages.models.tests.matrix.connectors import CONNECTORS
from packages.models.tests.matrix.encoders import ENCODERS
from packages.models.tests.matrix.plans import MERGES, PLANS
from PIL import Image, ImageOps

from foveal.connectors import DAbstractor
from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, Turn, Video, VisionLanguageModel, byte_tokenizer, llama
from foveal.models.views.minicpm import MARKS

WIDTH = 32

REASONS = {
    "views seen together": r"looks at \d+ views together, \w+ makes sets of \d+",
    "number of maps": (
        r"returns one map|connector takes one:|maps of widths .*: at most|branches for \d+ maps|for \d+ maps none"
    ),
    "widths": r"must have one width|cannot enter a language model",
    "class token": r"prefix tokens before its grid|has no class token",
    "plane": r"do not form a grid|form a plane",
    "texts between views": r"puts texts or another order between them",
    "number of views": r"takes (\d+ views for \d+x\d+ tiles|one view of a picture), the plan makes \d+",
    "levels": r"levels of tokens",
    "number of tokens": r"give \[.*\] tokens|becomes \d+ tokens or more",
    "grids": r"grids? |maps of one grid|cut into patches|on different grids: ",
}
"""Every kind of refusal, by what its message says; none is of two kinds."""


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


class Workshop:
    """Encoders and a language model shared by all combinations."""

    def __init__(self):
        self.encoders = {name: shaken(build()) for name, build in ENCODERS.items()}
        self.tokenizer = byte_tokenizer(["<img>", "</img>", *MARKS])
        rows = len(self.tokenizer)
        self.language_model = shaken(llama(rows, width=WIDTH, depth=6, heads=4, mlp_width=48, context=1000))

    def built(self, plan, merge, encoder, connector):
        """A model of the named parts, or the kind of reason why they are refused."""
        try:
            return VisionLanguageModel(
                self.encoders[encoder],
                CONNECTORS[connector],
                self.language_model,
                self.tokenizer,
                PLANS[plan],
                merge=MERGES[merge],
                system="",
                max_length=1000,
            )
        except ValueError as error:
            return kind_of(str(error))

    def takes(self, *names):
        return isinstance(self.built(*names), VisionLanguageModel)


def kind_of(message):
    kinds = [kind for kind, words in REASONS.items() if re.search(words, message)]
    assert len(kinds) == 1, f"{message}: of kinds {kinds}"
    return kinds[0]


def shaken(part):
    """Move weights away from zeros and scales of 1e-6, which would hide gradients."""
    with torch.no_grad():
        for weight in part.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    return part


PICTURES = (picture(150, 90, 1), picture(60, 200, 2))


def check_training(model, pictures=PICTURES):
    """One step on two pictures with a row of text between them: token counts as announced, gradients everywhere."""
    model.zero_grad()
    for part in (model.connector, model.merge):
        if part is not None:
            shaken(part)
    # Frames of a still picture are equal, which leaves nothing to learn for what tells them apart.
    moves = model.processor.plan.frames is not None
    first, second = (Video([each, ImageOps.flip(each)]) if moves else each for each in pictures)
    answered = [
        model.processor.encode(of_row, [Turn("user", question), Turn("assistant", "An answer.")])
        for of_row, question in (([first], "<image>\nWhat?"), ([], "Hello?"), ([second], "So <image> is?"))
    ]
    batch = model.processor.collate(answered)
    seen, merged = [], model.merged
    model.merged = lambda views, sizes: seen.extend(merged(views, sizes)) or seen
    loss = model.loss(batch)
    (loss.total / loss.tokens).backward()

    runs = [item for each in pictures for item in model.processor.count(Size.of(each.size)) if isinstance(item, int)]
    assert [len(each.tokens) for each in seen] == runs
    assert int((batch.input_ids == IMAGE_TOKEN_ID).sum()) == sum(runs)
    assert loss.total.isfinite()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        assert weight.grad is not None, f"{name} has no gradient"
        assert weight.grad.isfinite().all(), f"{name} has a gradient that is not finite"
        # A softmax over the only cell of a map, and the bias of keys, have zero gradients up to rounding errors; and
        # so has a table of queries for views of another size.
        attends = name.startswith("connector.") and ("query" in name or "key" in name)
        # Deformable attention samples points; on maps of few cells all of them may lie beside a map, and nothing that
        # made the map, or looks at it, is then learnt.
        around = ("encoder.", "position", "reference_points", "in_projections", "cross_attention")
        sampled = isinstance(model.connector, DAbstractor) and any(part in name for part in around)
        if not attends and not sampled and not name.startswith("encoder.queries."):
            assert weight.grad.any(), f"{name} has a gradient of zero"


def check(workshop, *names):
    """Train the model of the named parts; return the kind of reason if it is refused.

    Raises:
        Exception: with the names, if the combination is neither refused nor trains.
    """
    try:
        built = workshop.built(*names)
        if isinstance(built, str):
            return built
        check_training(built)
    except Exception as error:
        error.add_note(" x ".join(names))
        raise
    return None
