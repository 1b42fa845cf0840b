"""From the input of the language model back to the picture, for every plan and merge.

A model whose visual tokens are the mean colours of patches reads a black picture with one white square; what is not
black in its input must be laid back on the square.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import foveal.models
from foveal.connectors import Identity, Parallel
from foveal.core import Box, Size
from foveal.encoders import Encoder, FrameEncoder, ParallelEncoder
from foveal.encoders.encoder import cells
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    CropToSquare,
    DeepSeekOcr2Plan,
    DeepStackHdMerge,
    DeepStackHdPlan,
    DeepStackMerge,
    DeepStackPlan,
    DynamicTilesPlan,
    LevelsMerge,
    MarkedPlan,
    Merge,
    MiniCpmPlan,
    NativePlan,
    OneVisionMerge,
    OneVisionPlan,
    PadToSquare,
    SeparatorMerge,
    SequenceMerge,
    StretchToSquare,
    Turn,
    UhdPlan,
    UhdV3Plan,
    VaryPlan,
    VideoPlan,
    ViewPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from foveal.models.relevance.numbers import localisation
from foveal.models.relevance.sets import maps_of, sets_of
from foveal.models.relevance.token_relevance import token_relevance
from foveal.models.views.minicpm import MARKS

WIDTH = 32


class MeanColours(Encoder):
    """The mean colour of every patch, zero for black."""

    def __init__(self, patch: int = 7, maps: int = 1) -> None:
        super().__init__()
        self.patch, self.maps = patch, maps
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.widths = (WIDTH,) * maps
        self.image_mean, self.image_std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def grids(self, *sizes):
        return (cells(sizes[0], self.patch),) * self.maps

    def forward(self, *pixels):
        means = torch.nn.functional.avg_pool2d(self.one_input(pixels).mean(dim=1, keepdim=True), self.patch)
        return (self.scale * means.flatten(2).mT.expand(-1, -1, WIDTH),) * self.maps


@dataclass(frozen=True)
class Case:
    """A plan, a merge, an encoder and a connector that keeps the patches."""

    plan: ViewPlan
    merge: type[Merge] | partial | None = None
    encoder: Callable[[], Encoder] = MeanColours
    connector: object = Identity


TWO_ENCODERS = {
    "encoder": lambda: ParallelEncoder([MeanColours(), MeanColours()]),
    "connector": partial(Parallel, branches=[Identity, Identity], join="tokens"),
}
FRAMES = {
    "encoder": lambda: FrameEncoder(MeanColours(), frames=2),
    "connector": partial(Parallel, branches=[Identity, Identity], join="tokens"),
}
LEVELS = {
    "encoder": partial(MeanColours, maps=3),
    "connector": partial(Parallel, branches=[Identity] * 3, join="levels"),
    "merge": partial(LevelsMerge, levels=3),
}
CASES = {
    "pad": Case(PadToSquare(56, fill=(0, 0, 0))),
    "crop": Case(CropToSquare(56)),
    "stretch": Case(StretchToSquare(56)),
    "native": Case(NativePlan(7, 28 * 28, 56 * 56, start="<img>", end="</img>")),
    "uhd": Case(UhdPlan(28, 7)),
    "uhd_first": Case(UhdPlan(28, 7, overview="first", long_side=150)),
    "minicpm": Case(MiniCpmPlan(28, 7)),
    "uhd_v3": Case(UhdV3Plan(28, 56, smallest=28, longest=112)),
    "anyres": Case(AnyResPlan(28), AnyResMerge),
    "anyres_spatial": Case(
        AnyResPlan(28, [(1, 4), (2, 3), (4, 1)], "height_first"), partial(AnyResMerge, kind="spatial")
    ),
    "anyres_flat": Case(AnyResPlan(28), partial(AnyResMerge, kind="flat")),
    "anyres_shrunk": Case(AnyResPlan(28), partial(AnyResMerge, max_tiles=2)),
    "anyres_runs": Case(AnyResPlan(28)),
    "one_view": Case(PadToSquare(56, fill=(0, 0, 0)), AnyResMerge),
    "onevision": Case(OneVisionPlan(28), OneVisionMerge),
    "deepstack": Case(DeepStackPlan(28), DeepStackMerge),
    "deepstack_lines": Case(DeepStackPlan(28), partial(DeepStackMerge, sampling="1d")),
    "deepstack_tiles": Case(DeepStackPlan(28), partial(DeepStackMerge, sampling="grid", overview="stacked")),
    "deepstack_sequence": Case(DeepStackPlan(28, 6, keep_aspect=True), SequenceMerge),
    "deepstack_hd": Case(DeepStackHdPlan(28, 4), DeepStackHdMerge),
    "deepseek_ocr2": Case(DeepSeekOcr2Plan(56, 28, 8, 2, fill=(0, 0, 0)), SeparatorMerge),
    "dynamic_tiles": Case(DynamicTilesPlan(28, 8, 2)),
    "marked": Case(MarkedPlan(AnyResPlan(28)), AnyResMerge),
    "vary_tiny": Case(VaryPlan(56)),
    "vary": Case(VaryPlan(56, 28), **TWO_ENCODERS),
    "levels": Case(StretchToSquare(56), **LEVELS),
    "video": Case(VideoPlan(StretchToSquare(56), frames=2), **FRAMES),
}


@cache
def built(name):
    case = CASES[name]
    texts = sorted({"<img>", "</img>", "<im_start>", "<im_end>", *MARKS})
    model = VisionLanguageModel(
        case.encoder(),
        case.connector,
        llama(260 + len(texts), width=WIDTH, depth=6, heads=2, mlp_width=16, context=8000),
        byte_tokenizer(texts),
        case.plan,
        merge=case.merge,
        system="",
        max_length=8000,
    )
    with torch.no_grad():  # nothing else is in the model's input
        for part in (model.language_model, model.merge):
            for weight in () if part is None else part.parameters():
                weight.zero_()
    return model.eval()


def way_back(model, pictures):
    """What is not zero in the model's input, laid back on the pictures."""
    text = "<image>" * len(pictures)
    sample = model.processor.encode(pictures, [Turn("user", text), Turn("assistant", "It")])
    with torch.no_grad():
        embedded = model.embed(sample.input_ids[None], sample.views, sample.sizes)
    layers = () if model.merge is None else model.merge.layers
    rows = {layer: torch.zeros(len(sample.input_ids), dtype=torch.float64) for layer in (0, *layers)}
    for stack in embedded.stacks:
        rows[stack.layer][stack.columns] += stack.values.norm(dim=1).double()
    rows[0] += embedded.embeddings[0].norm(dim=1)
    sets = sets_of(model, sample.sizes)
    tokens = token_relevance(model, sample, sets, rows)
    relevance = [
        list(of_set.split([grid.cells for grid in each.grids])) for of_set, each in zip(tokens, sets, strict=True)
    ]
    return maps_of(sets, relevance, sample.sizes)


def with_square(size, box):
    picture = Image.new("RGB", size)
    ImageDraw.Draw(picture).rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill="white")
    return picture


def test_every_plan_and_every_merge_is_here():
    public = {getattr(foveal.models, name) for name in foveal.models.__all__}
    kinds = {kind for kind in public if inspect.isclass(kind) and issubclass(kind, ViewPlan | Merge)}
    merges = {type(built(name).merge) for name in CASES} - {type(None)}
    assert {type(case.plan) for case in CASES.values()} | merges == kinds - {ViewPlan, Merge}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_what_a_model_sees_in_a_square_is_laid_back_on_the_square(name, data):
    size = Size(*data.draw(st.tuples(*[st.integers(90, 200)] * 2)))
    side = min(size) // 4
    left, top = (data.draw(st.integers(0, length - side)) for length in size)
    if name in ("crop", "vary"):  # it must be in the middle to be seen by all
        left, top = (size.width - side) // 2, (size.height - side) // 2
    box = Box(left, top, left + side, top + side)
    model = built(name)
    (found,) = way_back(model, [with_square(size, box)])
    # The coarsest patch, in pixels of the picture; it may just touch the square, and interpolation adds its half.
    margin = 1.6 * max(
        max(shown.width / grid.columns, shown.height / grid.rows)
        for each in sets_of(model, model.processor.plan.in_company([size]))
        for shown, grid in zip(each.boxes, each.grids, strict=True)
    )
    around = Box(left - margin, top - margin, left + side + margin, top + side + margin)
    assert found.sum() > 0
    assert localisation(found.numpy(), around, size) > 0.99
    rows, columns = found.shape
    centre = (
        float(found.sum(dim=0) @ (torch.arange(columns) + 0.5).double() / found.sum()),
        float(found.sum(dim=1) @ (torch.arange(rows) + 0.5).double() / found.sum()),
    )
    assert centre == pytest.approx((left + side / 2, top + side / 2), abs=margin / 4)


@pytest.mark.parametrize("name", ["uhd", "anyres", "deepstack", "vary_tiny"])
def test_several_pictures_are_not_confused(name):
    model, size = built(name), Size(160, 100)
    boxes = Box(100, 10, 130, 40), Box(20, 60, 50, 90)
    found = way_back(model, [with_square(size, box) for box in boxes])
    for number, box in enumerate(boxes):
        around = Box(box.left - 40, box.top - 40, box.right + 40, box.bottom + 40)
        assert localisation(found[number].numpy(), around, size) > 0.99
