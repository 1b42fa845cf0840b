"""Parts from outside Foveal as a newcomer writes them: the files of a page, and a model built from them."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]
OWN_SECTION = re.compile(r"^## One of your own\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
FILES = {"python": "mine.py", "yaml": "mine.yaml"}


def files_of(page):
    """The files in a page's section "One of your own", by name."""
    section = OWN_SECTION.search(page.read_text(encoding="utf-8"))
    blocks = re.findall(r"^```(python|yaml)\n(.*?)^```", section[1] if section else "", re.DOTALL | re.MULTILINE)
    return {FILES[kind]: text for kind, text in blocks}


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if files_of(page)]


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def built(tmp_path, monkeypatch):
    """The network that `fit` builds for a command line, in a folder with the given files."""
    from jsonargparse import set_parsing_settings

    from recipes.command_line.arguments import prepare
    from recipes.commands.fit import FitCommand
    from recipes.commands.sharded_module import instantiated
    from recipes.module import Finetuning
    from recipes.run.log import RunLog
    from recipes.states import Signals

    class Built(FitCommand):
        def before_instantiate_classes(self):
            pass

        def instantiate_classes(self):
            self.model = instantiated(Finetuning, self._get(self.config, "model").as_dict())

        def _run_subcommand(self, subcommand):
            pass

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = set()

    def made(files, words):
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
            names.add(name.removesuffix(".py"))
            # Another test may have imported its own file of that name.
            sys.modules.pop(name.removesuffix(".py"), None)
        typed = prepare(words)
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(typed.allowed))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Built("fit", typed, Signals(), RunLog()).model

    yield made
    for name in names:
        sys.modules.pop(name, None)


def check_whole_way(module, folder, package):
    """A step of training, groups for Muon, a checkpoint that asks for its package, and an answer.

    Args:
        module: a `Finetuning`.
        folder: a folder that does not exist yet.
        package: the package whose classes the checkpoint names.
    """
    from foveal.core import Size
    from foveal.models import Turn, answer, load, save
    from foveal.models.estimates.cost import cost

    network = module.network.train()
    pictures = [picture(150, 90), picture(60, 200, 1), picture(64, 64, 2)]
    turns = [Turn("user", "<image>\nWhat is the total?"), Turn("assistant", "12")]
    batch = network.processor.collate([network.processor.encode([each], turns) for each in pictures])
    loss = network.loss(batch)
    loss.total.backward()
    assert loss.total.isfinite()
    for name, weight in network.named_parameters():
        assert weight.grad is not None or not weight.requires_grad, name
    optimizers = module.rates.groups(weight_decay=0.1, muon=True)
    assert sum(len(group["params"]) for groups in optimizers.values() for group in groups) == sum(
        weight.requires_grad for weight in network.parameters()
    )

    network.eval()
    with pytest.raises(ValueError, match=f"--allow_import {package}"):
        load(save(network, folder))
    again = load(folder, allow=[package])
    with torch.no_grad():
        logits, read = (
            each(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes) for each in (network, again)
        )
    assert torch.equal(logits, read)
    assert answer(network, [pictures[0]], "What?", max_new_tokens=4) == answer(
        again, [pictures[0]], "What?", max_new_tokens=4
    )
    with torch.device("meta"):
        shapes = load(folder, allow=[package])
    size = Size.of(pictures[0].size)
    found = cost(shapes, [size], text=5)
    runs = [item for item in network.processor.count(size) if isinstance(item, int)]
    assert found.visual == sum(runs)
