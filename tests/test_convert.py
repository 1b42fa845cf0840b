"""Converting pickled weights to safetensors, and exporting models, as a user does it."""

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import LlavaForConditionalGeneration

from foveal.connectors import AdaptivePool, MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama, save
from foveal.models.checkpoints.overrides import Overrides
from foveal.models.published import load_projector, open_published
from recipes import convert, export
from recipes.commands.convert import convert_file, convert_folder

TENSORS = {
    "model.mm_projector.0.weight": torch.randn(40, 64),
    "model.mm_projector.0.bias": torch.randn(40).half(),
    "model.mm_projector.2.weight": torch.randn(40, 40).bfloat16(),
    "model.mm_projector.2.bias": torch.randn(40),
}


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command's `main`; returns its output, or the message with which it stopped."""

    def run(tool, *arguments):
        monkeypatch.setattr(sys, "argv", [tool.__name__, *map(str, arguments)])
        # What it silences would stay silenced for other tests.
        monkeypatch.setattr("recipes.commands.export.calm", lambda: None)
        try:
            tool.main()
        except SystemExit as stopped:
            return f"stopped: {stopped.code} {capsys.readouterr().err}"
        return capsys.readouterr().out

    return run


def small(connector=MlpProjector, depth=1):
    model = VisionLanguageModel(
        VisionTransformer(64, 3, 1, 48, 7, 28),
        connector,
        llama(260, width=40, depth=depth, heads=2, mlp_width=48),
        byte_tokenizer(),
        PadToSquare(28),
    )
    return model.eval()


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_projector_of_stage_1(tmp_path, run, is_zip):
    torch.save(TENSORS, tmp_path / "mm_projector.bin", _use_new_zipfile_serialization=is_zip)
    target = tmp_path / "mm_projector.safetensors"
    printed = run(convert, tmp_path / "mm_projector.bin", target)
    assert printed == f"{target}: 4 tensors\n"
    same(load_file(target), TENSORS)
    model = small()
    load_projector(model, target)
    assert torch.equal(model.connector.layers[0].weight, TENSORS["model.mm_projector.0.weight"])


def test_wrapped_and_shared_tensors(tmp_path):
    """Training files keep tensors under `model`; tied and transposed ones share memory."""
    table = torch.randn(5, 3)
    tensors = {"embed.weight": table, "head.weight": table, "turned": table.T, "part": table[1:3]}
    for number, content in enumerate((tensors, {"model": tensors, "epoch": 3}, {"state_dict": tensors})):
        torch.save(content, tmp_path / "a.pth")
        convert_file(tmp_path / "a.pth", tmp_path / f"{number}.safetensors")
        same(load_file(tmp_path / f"{number}.safetensors"), tensors)


def test_what_is_refused_leaves_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    source, target = tmp_path / "a.bin", tmp_path / "a.safetensors"
    for write, message in (
        (lambda: source.write_bytes(pickle.dumps(Bomb())), "is damaged, or holds more than tensors"),
        (lambda: torch.save({"a": Bomb()}, source), "is damaged, or holds more than tensors"),
        (lambda: source.write_bytes(b"nothing"), "is damaged, or holds more than tensors"),
        (lambda: source.write_bytes(b""), "is damaged, or holds more than tensors"),
        (lambda: torch.save([torch.ones(1)], source), "holds list, not named tensors"),
        (lambda: torch.save({}, source), "holds dict, not named tensors"),
        (
            lambda: torch.save({"a": torch.ones(1), "b": 3}, source),
            r"1 of 2 entries are not tensors, among them \['b'\]",
        ),
    ):
        write()
        with pytest.raises(ValueError, match=message):
            convert_file(source, target)
        assert sorted(tmp_path.iterdir()) == [source]
    torch.save(TENSORS, source)
    target.write_text("there")
    for name in ("a.safetensors", "b.bin"):
        with pytest.raises(ValueError, match="exists, or is not a new NAME"):
            convert_file(source, tmp_path / name)
    assert target.read_text() == "there"


@pytest.fixture
def pickled(tmp_path):
    """A LLaVA as it was published: shards with an index and a separate copy of the projector, all pickled."""
    model = small()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.2)
    tensors = {f"{name}": tensor for name, tensor in model.language_model.state_dict().items()}
    projector = {
        f"model.mm_projector.{name.removeprefix('layers.')}": tensor
        for name, tensor in model.connector.state_dict().items()
    }
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(projector, folder / "mm_projector.bin")
    tensors |= projector
    names = list(tensors)
    shard_of = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"pytorch_model-{number + 1:05}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, folder / file)
        shard_of |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": shard_of}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = {
        "model_type": "llava",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -2,
        "image_aspect_ratio": "pad",
        "vocab_size": 260,
        "hidden_size": 40,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
    }
    (folder / "config.json").write_text(json.dumps(config))
    byte_tokenizer().save_pretrained(folder)
    return folder, tensors


def test_a_published_folder(tmp_path, run, pickled):
    """Converted together with its tower, opened, saved in our layout, exported, opened by transformers."""
    folder, tensors = pickled
    with pytest.raises(ValueError, match=r"python -m recipes\.convert"):
        open_published(folder)
    converted = tmp_path / "converted"
    torch.save({}, folder / "training_args.bin")
    (folder / "flax_model.msgpack").write_bytes(b"")
    assert run(convert, folder, converted) == (
        f"{converted}: {len(tensors)} tensors\n"
        "copied: config.json, tokenizer.json, tokenizer_config.json\n"
        "left out: flax_model.msgpack (of another library), training_args.bin (the state of a "
        "training), mm_projector.bin (a copy of some of the tensors)\n"
    )
    files = {file.name for file in converted.iterdir()}
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    index = "model.safetensors.index.json"
    assert files == shards | {index, "config.json", "tokenizer.json", "tokenizer_config.json"}
    same({name: tensor for shard in shards for name, tensor in load_file(converted / shard).items()}, tensors)
    assert set(json.loads((converted / index).read_text())["weight_map"]) == set(tensors)
    parts = tmp_path / "parts"
    model = small(connector=lambda i, o: AdaptivePool(i, o, rows=2, columns=2))
    save(model, tmp_path / "other")
    printed = run(export, tmp_path / "other", parts)
    assert printed.startswith("not written for a class of transformers: the connector, a AdaptivePool")
    tower = parts / "encoder"
    torch.save(load_file(tower / "model.safetensors"), tower / "pytorch_model.bin")
    (tower / "model.safetensors").unlink()
    config = json.loads((tower / "config.json").read_text())
    (tower / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    assert "tensors" in run(convert, tower, tmp_path / "tower")

    opened = open_published(converted, Overrides(encoder=str(tmp_path / "tower")))
    assert torch.equal(opened.connector.layers[0].weight, tensors["model.mm_projector.0.weight"])
    save(opened, tmp_path / "ours")
    printed = run(export, tmp_path / "ours", tmp_path / "theirs")
    assert printed.startswith(f"{tmp_path / 'theirs'} holds a LlavaForConditionalGeneration; read back by transformers")
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "theirs")
    assert torch.equal(theirs.model.multi_modal_projector.linear_1.weight, tensors["model.mm_projector.0.weight"])
    assert "theirs exists and is not empty: choose another folder" in run(
        export, tmp_path / "ours", tmp_path / "theirs"
    )
    assert run(export, tmp_path / "nothing", tmp_path / "new").startswith("stopped: 1 error: ")


def test_folders_that_cannot_be_converted(tmp_path, run, pickled):
    folder, _ = pickled
    target = tmp_path / "converted"
    index = folder / "pytorch_model.bin.index.json"
    good = index.read_text()
    content = json.loads(good)
    content["weight_map"]["promised"] = "pytorch_model-00001-of-00002.bin"
    for text, message in (
        ("{", "is damaged or not an index of shards"),
        ("[]", "is damaged or not an index of shards"),
        (json.dumps({"weight_map": {"a": "b.bin"}}), r"the index names 1 files, 1 are missing: \['b\.bin'\]"),
        (json.dumps(content), r"disagree about 1 tensors: \['promised'\]"),
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=message):
            convert_folder(folder, target)
        assert not target.exists()
        assert not list(tmp_path.glob("*.partial"))
    index.write_text(good)
    copy = torch.load(folder / "mm_projector.bin")
    for changed in (copy | {"model.mm_projector.0.bias": torch.zeros(40)}, copy | {"more": torch.zeros(1)}):
        torch.save(changed, folder / "mm_projector.bin")
        with pytest.raises(ValueError, match=r"mm_projector\.bin holds 1 tensors that the weights beside it lack"):
            convert_folder(folder, target)
    index.unlink()
    with pytest.raises(ValueError, match="exactly one other pickled file, but"):
        convert_folder(folder, target)
    assert not target.exists()
    target.mkdir()
    assert run(convert, folder, target).startswith(f"stopped: 1 error: {target} exists: choose another folder\n")
    assert run(convert, tmp_path / "none", target).startswith(f"stopped: 1 error: there is no {tmp_path / 'none'}\n")


def test_one_file_of_any_name(tmp_path):
    """A folder of stage 1: configuration and projector; other files of a trainer are not weights."""
    folder = tmp_path / "stage1"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save(TENSORS, folder / "mm_projector.bin")
    torch.save({}, folder / "training_args.bin")
    assert convert_folder(folder, tmp_path / "converted").tensors == 4
    same(load_file(tmp_path / "converted" / "model.safetensors"), TENSORS)
    assert {file.name for file in (tmp_path / "converted").iterdir()} == {"config.json", "model.safetensors"}
    model = small()
    load_projector(model, tmp_path / "converted")
    assert torch.equal(model.connector.layers[2].bias, TENSORS["model.mm_projector.2.bias"])
    (folder / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"has model\.safetensors, which needs no conversion"):
        convert_folder(folder, tmp_path / "again")
