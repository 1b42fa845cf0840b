"""Plans x merges x encoders x connectors: every part works with others, on pictures of every shape."""

import inspect
import random

import pytest
from packages.models.tests.matrix.connectors import CONNECTORS
from packages.models.tests.matrix.encoders import ENCODERS
from packages.models.tests.matrix.plans import MERGES, METHODS, PLANS
from packages.models.tests.matrix.workshop import WIDTH, check, check_training, picture

import foveal.connectors
import foveal.encoders
import foveal.models
from foveal.connectors import (
    Average,
    ConcatChannels,
    ConcatTokens,
    Connector,
    DenseConnector,
    MMFuser,
    Pool,
    StridedPool,
)
from foveal.encoders import Encoder
from foveal.models import Merge, ViewPlan, VisionLanguageModel

LEVELS = ("clip_layers", "parallel_levels")
"""An encoder and a connector of several levels."""


def covering(workshop, encoder):
    """Enough working combinations with `encoder` to include every method and every connector that works with it."""
    rest = [(plan, merge, connector) for plan, merge in METHODS for connector in CONNECTORS]
    random.Random(encoder).shuffle(rest)
    methods, connectors = set(), set()
    for plan, merge, connector in rest:
        new = (plan, merge) not in methods or connector not in connectors
        if new and workshop.takes(plan, merge, encoder, connector):
            methods.add((plan, merge))
            connectors.add(connector)
            yield plan, merge, encoder, connector


def public(module, kind):
    """The names of the public classes of a kind."""
    classes = {name: getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))}
    return {name for name, of in classes.items() if issubclass(of, kind) and not inspect.isabstract(of)}


def names_in(modules, kind):
    return {type(module).__name__ for module in modules if isinstance(module, kind)}


def test_every_public_part_is_in_the_matrix(workshop):
    """Every new part needs a line in its table above."""
    assert names_in(PLANS.values(), ViewPlan) == public(foveal.models, ViewPlan)
    merges = [build(WIDTH) for build in MERGES.values() if build is not None]
    assert names_in(merges, Merge) == public(foveal.models, Merge)
    encoders = [module for encoder in workshop.encoders.values() for module in encoder.modules()]
    assert names_in(encoders, Encoder) == public(foveal.encoders, Encoder)
    built = []
    for build in CONNECTORS.values():
        for widths in (16, (16, 16)):
            try:
                built += build(widths, WIDTH).modules()
            except ValueError:
                continue
    assert names_in(built, Connector) == public(foveal.connectors, Connector)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("plan", PLANS)
def test_plan_with_merge(workshop, plan, merge):
    encoder, connector = {
        1: LEVELS if merge == "levels" else ("clip", "mlp"),
        2: ("parallel_two_views", "parallel_channels"),
        4: ("frames", "space_time_pool"),
        5: ("stacked", "mlp"),
    }[PLANS[plan].inputs]
    kind = check(workshop, plan, merge, encoder, connector)
    assert kind is None or merge != "none"
    assert (plan, merge) not in METHODS or kind is None


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoder_with_methods_and_connectors(workshop, encoder):
    combinations = list(covering(workshop, encoder))
    assert combinations
    for names in combinations:
        check(workshop, *names)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_connector_works_somewhere(workshop, connector):
    assert any(workshop.takes(plan, merge, encoder, connector) for plan, merge in METHODS for encoder in ENCODERS)


@pytest.mark.parametrize("stage", [Average, ConcatChannels, ConcatTokens, DenseConnector, MMFuser, Pool, StridedPool])
def test_a_stage_is_no_connector(workshop, stage):
    """A stage keeps the encoder's width: a projector has to follow."""
    encoder = workshop.encoders["clip" if stage in (Pool, StridedPool) else "clip_layers"]
    with pytest.raises(ValueError, match=stage.__name__):
        VisionLanguageModel(encoder, stage, workshop.language_model, workshop.tokenizer, PLANS["square"])


@pytest.mark.parametrize(("plan", "merge"), METHODS, ids=["-".join(method) for method in METHODS])
def test_extreme_pictures(workshop, plan, merge):
    """A single pixel, and pictures longer than the map has cells; NativePlan takes none as long."""
    encoder, connector = {
        1: LEVELS if merge == "levels" else ("siglip", "linear"),
        2: ("parallel_two_views", "split_mlp"),
        4: ("frames", "space_time_pool"),
        5: ("stacked", "spatial_resampler"),
    }[PLANS[plan].inputs]
    long = 400 if plan == "native" else 500
    for pictures in ((picture(1, 1, 3), picture(long, 2, 4)), (picture(2, long, 5), picture(65, 64, 6))):
        check_training(workshop.built(plan, merge, encoder, connector), pictures)
