"""Which patches the tokens of every connector come from."""

import pytest
import torch
from packages.connectors.tests.every_connector import CASES, maps_of

from foveal.connectors.relevance import contribution, patches_of_tokens, relevance_by_gradient, traced

BY_GRADIENTS = {"strided_max"}
"""Connectors that cannot say where their tokens come from."""
ENDED = {"c_abstractor_ended": 2, "d_abstractor_target": 1, "honeybee_resampler": 1}
"""Numbers of tokens that come from no patch."""
CONVOLVE = {"c_abstractor", "c_abstractor_ended", "ldp_v2", "parallel_tokens"}
"""Connectors whose convolutions read a little more than they say."""
ATTEND = (
    "d_abs",
    "honeybee",
    "q_former",
    "flamingo",
    "idefics2",
    "perceiver",
    "spatial",
    "hiwin",
    "token_p",
    "mmfuser",
)
LOCAL = [name for name in CASES if not name.startswith(ATTEND) and name not in CONVOLVE | BY_GRADIENTS]
"""Connectors whose tokens are computed from the patches that they name, and from nothing else."""
EVERY = pytest.mark.parametrize("name", CASES)


def called(name, *, number=2):
    connector, grids = CASES[name].connector(), CASES[name].usual()
    maps = maps_of(connector, grids, number=number)
    with traced(connector) as calls:
        connector(maps, grids)
    return connector, maps, grids, calls[0]


@EVERY
def test_every_token_shares_itself_out_over_the_patches(name):
    connector, maps, grids, call = called(name)
    tables, by_rules = patches_of_tokens(connector, call, 1)
    assert by_rules == (name not in BY_GRADIENTS)
    tokens = connector.levels * connector.num_tokens(*grids)
    assert [table.shape for table in tables] == [(tokens, features.shape[1]) for features in maps]
    assert all(table.dtype == torch.float64 and table.min() >= 0 for table in tables)
    total = torch.cat(tables, dim=1).sum(dim=1)
    expected = torch.ones(tokens, dtype=torch.float64)
    expected[tokens - ENDED.get(name, 0) :] = 0
    torch.testing.assert_close(total, expected)


@EVERY
def test_a_view_of_a_batch_is_as_if_alone(name):
    connector, maps, grids, call = called(name)
    with traced(connector) as calls:
        connector([features[1:] for features in maps], grids)
    (alone, _), (among, _) = patches_of_tokens(connector, calls[0], 0), patches_of_tokens(connector, call, 1)
    for one, other in zip(alone, among, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@EVERY
def test_tracing_changes_no_token(name):
    connector, maps, grids, call = called(name)
    with torch.no_grad():
        torch.testing.assert_close(call.tokens.detach(), connector(maps, grids), atol=1e-5, rtol=0)


def relevance(connector, call, towards):
    """Relevance of the rows of each map for the sum of `towards` times the tokens."""
    wanted = [*call.probabilities, *call.maps]
    found = torch.autograd.grad((call.tokens * towards).sum(), wanted, materialize_grads=True)
    attention, features = found[: len(call.probabilities)], found[len(call.probabilities) :]
    weights = [contribution(each.detach(), of) for each, of in zip(call.probabilities, attention, strict=True)]
    tables = connector.token_to_patch(call.grids, call.seen(0, weights))
    if tables is None:
        return [relevance_by_gradient(each[0], of[0]) for each, of in zip(call.maps, features, strict=True)]
    return [towards[0].norm(dim=-1).flatten().double() @ table for table in tables]


@EVERY
def test_the_patch_that_moved_the_tokens_stands_out(name):
    """Of a view with one very different patch, in a map and at a place that tokens read: its rank among all patches,
    which is 0.5 on average if the map has nothing to do with the patches. With attention, others may come before it."""
    connector, grids = CASES[name].connector(), CASES[name].usual()
    ranks, attends = [], False
    for trial in range(12):
        torch.manual_seed(trial)
        maps = [0.3 * features for features in maps_of(connector, grids, number=1)]
        with traced(connector) as calls:
            before = connector(maps, grids).detach()
        changed = trial % len(maps)
        share = patches_of_tokens(connector, calls[0], 0)[0][changed].sum(dim=0)
        read = [row for row in range(connector.prefix_tokens, len(share)) if share[row] > 0.99 * share.mean()]
        if not share.any():
            continue  # TokenPacker's last map only asks
        place = read[trial % len(read)]
        maps[changed][0, place] = 3 * torch.randn(maps[changed].shape[-1])
        with traced(connector) as calls:
            after = connector(maps, grids)
        found = relevance(connector, calls[0], (after - before).detach())[changed]
        ranks.append(float((found <= found[place]).double().mean()))
        attends = bool(calls[0].probabilities)
    assert len(ranks) >= 8
    assert sum(ranks) / len(ranks) > (0.75 if attends or name in CONVOLVE else 0.999)


@pytest.mark.parametrize("name", LOCAL)
def test_no_other_patch_changes_a_token(name):
    connector, maps, grids, call = called(name, number=1)
    for changed, table in enumerate(patches_of_tokens(connector, call, 0)[0]):
        for place in (0, table.shape[1] - 1):
            others = [features.clone() for features in maps]
            others[changed][0, place] = torch.randn(maps[changed].shape[-1])
            with torch.no_grad():
                moved = (connector(others, grids) - call.tokens.detach())[0].flatten(0, -2).abs().amax(dim=-1) > 1e-6
            # A share of attention that is next to nothing moves a token by less than can be seen.
            assert not bool((moved & (table[:, place] == 0)).any())
            assert bool(moved[table[:, place].argmax()]) == bool((table[:, place] > 0).any())
