"""Models, training states and configurations, small and valid, and what reads them."""

import contextlib
import hashlib
import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from tests.fuzz.data import Read, small_model
from tests.fuzz.mutate import changed_bytes, changed_value

from foveal.models import save

EVIL = "open(__file__ + '.ran', 'w')\nclass Evil: pass\n"
"""What a changed file may name: it leaves a trace if it is imported."""


def _change_file(path: Path, draw: random.Random) -> None:
    """Change a file's values if it has some, or else its bytes."""
    readers: dict[str, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
        ".json": (json.loads, json.dumps),
        ".yaml": (yaml.safe_load, yaml.safe_dump),
    }
    if path.suffix in readers and draw.random() < 0.7:
        read, write = readers[path.suffix]
        value = changed_value(read(path.read_text()), draw)
        path.write_bytes(write(value).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(changed_bytes(path.read_bytes(), draw))


def _copied(valid: Path, folder: Path, draw: random.Random) -> Path:
    copy = folder / str(draw.randrange(10**9))
    shutil.copytree(valid, copy)
    return copy


def models(folder: Path) -> Read:
    from foveal.models import load

    valid = Path(save(small_model(), folder / "valid"))
    (folder / "evil.py").write_text(EVIL)
    sys.path.insert(0, str(folder))
    names = [path.relative_to(valid) for path in sorted(valid.rglob("*")) if path.is_file()]

    def make(draw: random.Random) -> Callable[[], object]:
        copy = _copied(valid, folder, draw)
        (copy / "language_model/evil.py").write_text("raise SystemExit('ran')\n")
        _change_file(copy / draw.choice(names), draw)

        return lambda: load(copy)

    return make


def states(folder: Path) -> Read:
    from recipes.states.contents import pieces, restore
    from recipes.states.folder import MANIFEST, find_state, write_manifest
    from recipes.states.randomness import random_state
    from recipes.states.ranks import Ranks
    from recipes.states.stored import StoredState
    from recipes.states.writing import write_state

    network = small_model()
    optimizer = torch.optim.AdamW(network.parameters())
    sum(weight.sum() for weight in network.parameters()).backward()
    optimizer.step()
    manifest = {"step": 3, "precision": "32-true", "optimizer": "adamw", "scaler": {}, "validated": True}
    valid = write_state(folder / "valid", manifest, pieces(network, optimizer, random_state(), 0), Ranks())

    def make(draw: random.Random) -> Callable[[], object]:
        copy = _copied(valid.parent, folder, draw)
        (state,) = copy.iterdir()
        path = draw.choice([state / MANIFEST, *state.glob("*.safetensors")])
        _change_file(path, draw)
        if draw.random() < 0.7:
            # As somebody who wants to do harm would: with checksums that are right.
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                _sign(state, write_manifest)

        def read() -> None:
            stored = StoredState(find_state(copy))
            stored.verify(Ranks())
            restore(network, optimizer, stored)

        return read

    return make


def _sign(state: Path, write: Callable[[Path, Any], None]) -> None:
    described = json.loads((state / "state.json").read_text())
    described.pop("checksum", None)
    for name, known in described["files"].items():
        if (state / name).is_file() and isinstance(known, dict):
            content = (state / name).read_bytes()
            known |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write(state, described)


def configurations(folder: Path) -> Read:
    from recipes.command_line.arguments import prepare
    from recipes.command_line.configurations import UsageError, merged
    from recipes.command_line.console import stop
    from recipes.command_line.spelling import check_spelling
    from recipes.commands.fit import FitCommand
    from recipes.commands.parser_limits import limit_parser
    from recipes.run.log import RunLog
    from recipes.states import Signals

    class Parsed(FitCommand):
        def before_instantiate_classes(self) -> None:
            pass

        def instantiate_classes(self) -> None:
            pass

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    valid = [merged(name) for name in ("uhd.yaml", "llava_next.yaml")]
    (folder / "evil.py").write_text(EVIL)
    sys.path.insert(0, str(folder))

    def parse(path: Path) -> None:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                try:
                    typed = prepare(["--config", str(path)])
                    check_spelling(typed.arguments, "fit")
                except UsageError as error:
                    stop(str(error))
                limit_parser(typed.allowed)
                Parsed("fit", typed, Signals(), RunLog())
        except SystemExit as end:
            raise UsageError(said.getvalue().removeprefix("error: ")) from end

    def make(draw: random.Random) -> Callable[[], object]:
        value = draw.choice(valid)
        if draw.random() < 0.8:
            value = changed_value(value, draw)
        text = yaml.safe_dump(value).encode("utf-8", "surrogatepass")
        if draw.random() < 0.3:
            text = changed_bytes(text, draw)
        path = folder / f"{draw.randrange(10**9)}.yaml"
        path.write_bytes(text)
        return lambda: parse(path)

    return make
