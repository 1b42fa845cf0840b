"""Tables that modules mark among their parameters."""

import pytest
import torch
from torch import nn

from foveal.core import tables_of


class Queries(nn.Module):
    tables = ("query", "frames")

    def __init__(self):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(2, 3))
        self.frames = None
        self.map = nn.Parameter(torch.zeros(3, 3))


class More(Queries):
    tables = ("anchors",)

    def __init__(self):
        super().__init__()
        self.anchors = nn.Parameter(torch.zeros(2, 3))


def test_marked_parameters_and_embeddings():
    network = nn.ModuleDict({"words": nn.Embedding(5, 3), "more": More(), "plain": nn.Linear(3, 3)})
    expected = [network["words"].weight, network["more"].anchors, network["more"].query]
    assert [id(weight) for weight in tables_of(network)] == [id(weight) for weight in expected]


def test_a_tied_embedding_is_one():
    words = nn.Embedding(5, 3)
    assert [id(weight) for weight in tables_of(nn.ModuleList([words, words]))] == [id(words.weight)]


@pytest.mark.parametrize(("names", "wrong"), [(("querry",), "querry"), (("layer",), "layer"), ("query", "q")])
def test_a_name_that_is_no_parameter(names, wrong):
    class Wrong(Queries):
        tables = names

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

    with pytest.raises(ValueError, match=rf"Wrong\.tables names '{wrong}', which is not one of its parameters"):
        tables_of(nn.Sequential(Wrong()))
