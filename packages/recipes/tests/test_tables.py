"""Which weights Muon leaves to AdamW: tables marked by modules, embeddings and output embeddings."""

import pytest
import torch
from jsonargparse import set_parsing_settings
from torch import nn

from foveal.connectors import MlpProjector, PerceiverResampler
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama
from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import shipped_methods
from recipes.commands.fit import FitCommand
from recipes.estimates.shapes import shapes_of
from recipes.module import Finetuning
from recipes.optimization.groups import Rates
from recipes.run.log import RunLog
from recipes.states import Signals

BY_SUFFIX = (
    *("positions", "query", "latents", "frames", "registers", "rows", "columns", "reference_points"),
    "lm_head.weight",
)
"""How it was decided before modules marked them: by names that happened to be similar."""


class Shapes(FitCommand):
    """The model of a command line on the meta device; nothing is run."""

    def before_instantiate_classes(self):
        pass

    def instantiate_classes(self):
        self.model = shapes_of(Finetuning, self._get(self.config, "model").as_dict()).built

    def _run_subcommand(self, subcommand):
        pass


def hidden_names(rates):
    hidden = rates.groups(weight_decay=0.1, muon=True)["hidden"]
    own = {id(weight) for group in hidden for weight in group["params"]}
    return {name for name, weight in rates.network.named_parameters() if id(weight) in own}


def hidden_by_suffix(network):
    embeddings = {id(each.weight) for each in network.modules() if isinstance(each, torch.nn.Embedding)}
    return {
        name
        for name, weight in network.named_parameters()
        if weight.requires_grad and weight.ndim == 2 and id(weight) not in embeddings and not name.endswith(BY_SUFFIX)
    }


FAST = ("uhd", "vary_tiny")
"""Methods with queries and with SAM; the others have the same parts, whose marks have their own tests."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "method", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in shipped_methods()]
)
def test_shipped_methods_have_the_groups_that_they_had(method):
    typed = prepare(["--config", f"{method}.yaml"])
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(typed.allowed))
    network = Shapes("fit", typed, Signals(), RunLog()).model.network
    rates = Rates(network, {name: 1e-3 for name, _ in network.named_children()})
    assert hidden_names(rates) == hidden_by_suffix(network)


class Mine(PerceiverResampler):
    """A custom connector with its own table and its own linear map."""

    tables = ("anchors",)

    def __init__(self, in_width, out_width):
        super().__init__(in_width, out_width, queries=4, train_positions=True)
        self.anchors = nn.Parameter(torch.randn(4, out_width))
        self.mix = nn.Parameter(torch.randn(out_width, out_width))


def network(connector):
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        connector,
        llama(260, width=16, depth=1, heads=2, mlp_width=16),
        byte_tokenizer(),
        PadToSquare(16),
    )


def test_a_connector_of_ones_own_marks_its_tables():
    """Its own tables in addition to those of its base class."""
    rates = Rates(network(Mine), {"connector": 1e-3})
    assert hidden_names(rates) == {
        "connector.qkv_weight",
        "connector.projection",
        "connector.out.weight",
        "connector.mix",
    }
    (left,) = rates.groups(weight_decay=0.1, muon=True)["matrices"]
    assert {id(weight) for weight in left["params"]} == {
        id(getattr(rates.network.connector, name)) for name in ("anchors", "query", "positions")
    }


def test_the_readout_is_left_to_adamw():
    rates = Rates(network(MlpProjector), {"language_model": 1e-3})
    assert not {name for name in hidden_names(rates) if "lm_head" in name or "embed" in name}
    assert "language_model.model.layers.0.mlp.up_proj.weight" in hidden_names(rates)
