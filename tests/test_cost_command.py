"""The cost command as a user starts it, and refusing a model that does not fit before it is read."""

import json
import re

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from foveal.core import Size
from foveal.encoders import clip_vit_large_224, clip_vit_large_336
from foveal.models import Turn, VisionLanguageModel, byte_tokenizer, load, save
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.estimates.cost import parameters, prompt_tokens
from foveal.models.estimates.memory import Memory, answering
from foveal.models.lora import Lora, add_lora
from recipes.command_line.configurations import merged
from recipes.commands.cost import smallest_card
from recipes.estimates.room import check_room_to_answer, free_bytes, refuse_if_too_large
from recipes.estimates.room_to_fit import batch_size, check_room_to_fit, device_to_fit, ranks_of
from recipes.estimates.shapes import quantization, shapes_of

VICUNA_7B, VICUNA_13B = 6_738_415_616, 13_015_864_320
CLIP_BEHIND = 12_596_224
SHARDED = {"class_path": "recipes.sharding.Sharded"}


def network_of(name):
    return merged(name)["model"]["network"]


def settings_of(name, **changes):
    return {"class_path": "foveal.models.VisionLanguageModel", "init_args": {**network_of(name), **changes}}


def row(printed, title):
    """The numbers of the last row with that title."""
    (*_, line) = [line for line in printed.splitlines() if re.match(rf"│ {title} ", line)]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.mark.slow
def test_tables_of_a_small_model(command, tmp_path):
    done = command("cost", "--config", "uhd.yaml", "--image", "96x96", "32x32", "--text", "10", "--ranks", "2")
    assert done.stderr == ""
    assert done.stdout.startswith("96x96, 32x32 pixels: 8 views, 72 visual tokens, 6 marks; 10 tokens of text")
    assert "training in batches of 32" in done.stdout
    assert "2 GPUs" in done.stdout
    assert row(done.stdout, "smallest card") == ["", "", *["8 GiB"] * 4]
    assert list(tmp_path.iterdir()) == []  # neither a run nor a configuration is written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "kind", "bits"),
    [
        (["--config", "quant/nf4.yaml"], "nf4-dq", 4 + 8 / 64 + 32 / (64 * 256)),
        (["--model.network.language_model.quantize=nf4"], "nf4", 4 + 32 / 64),
    ],
)
def test_thirteen_billion_parameters_without_a_network(command, arguments, kind, bits):
    configs = ["--config", "uhd.yaml", "--config", "uhd/13b.yaml"]
    done = command("cost", *configs, *arguments, "--image", "1000x3000")
    assert "6 views, 384 visual tokens, 5 marks; 64 tokens of text" in done.stdout
    assert row(done.stdout, "language model")[0] == "13,015.9 M"
    assert re.search(rf"┃ +bf16 ┃ +{kind} ┃", done.stdout)
    assert "tokenizer of lmsys/vicuna-13b-v1.5 is not read" in done.stdout
    linear, tables = 40 * (4 * 5120**2 + 3 * 5120 * 13824), VICUNA_13B - 40 * (4 * 5120**2 + 3 * 5120 * 13824)
    others = float(row(done.stdout, "encoder")[0].split()[0]) + float(row(done.stdout, "connector")[0].split()[0])
    weights = [float(cell) for cell in row(done.stdout, "weights")]
    assert weights[0] == pytest.approx(2 * (VICUNA_13B + others * 1e6) / 1e9, abs=0.01)
    assert weights[1] == pytest.approx((linear * bits / 8 + 2 * tables + 2 * others * 1e6) / 1e9, abs=0.01)
    assert weights[4] == pytest.approx(4 * (VICUNA_13B + others * 1e6) / 1e9, abs=0.01)
    cache = float(row(done.stdout, "cache")[0])
    assert cache == pytest.approx(2 * 40 * (384 + 5 + 64 + 128) * 5120 * 2 / 1e9, abs=0.005)
    assert row(done.stdout, "optimizer")[:2] == ["0.00", "0.00"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--image", "1000"], 2, ["'1000'", "WIDTHxHEIGHT"]),
        (
            ["--config", "uhd/13b.yaml", "--model.network.encoder.name_or_folder=some/tower"],
            1,
            ["some/tower", "offline"],
        ),
        (["--image", "1x90000000"], 1, ["1x90000000"]),
    ],
)
def test_what_cannot_be_used(command, arguments, code, words):
    done = command("cost", "--config", "llava.yaml", *arguments, code=code)
    assert len(done.stderr.splitlines()) <= 10
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(("name", "language_model"), [("llava/7b.yaml", VICUNA_7B), ("uhd/13b.yaml", VICUNA_13B)])
def test_known_sizes_are_the_published_ones(name, language_model):
    found = shapes_of(VisionLanguageModel, settings_of(name))
    assert all(weight.is_meta for weight in found.built.parameters())
    assert parameters(found.built).language_model == language_model
    with torch.device("meta"):
        tower = clip_vit_large_336()
    assert parameters(found.built).encoder == sum(weight.numel() for weight in tower.parameters())
    assert found.built.encoder.grids(Size(336, 336)) == ((24, 24),)
    assert [remark.split(" is not")[0].split(" of ")[0] for remark in found.remarks] == ["the tokenizer"]


def test_the_smaller_clip():
    encoder = {"class_path": "foveal.encoders.clip_vit"}
    encoder["init_args"] = {"name_or_folder": "openai/clip-vit-large-patch14", "layers": [-2]}
    plan = {"class_path": "foveal.models.PadToSquare", "init_args": {"size": 224}}
    found = shapes_of(VisionLanguageModel, settings_of("llava/7b.yaml", encoder=encoder, plan=plan)).built.encoder
    with torch.device("meta"):
        tower = clip_vit_large_224()
    assert {name: value.shape for name, value in found.state_dict().items()} == {
        name: value.shape for name, value in tower.state_dict().items()
    }


def test_a_local_folder_is_taken_before_a_known_name(tmp_path, monkeypatch):
    folder = tmp_path / "lmsys" / "vicuna-7b-v1.5"
    folder.mkdir(parents=True)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 400, **sizes}))
    monkeypatch.chdir(tmp_path)
    tokenizer = {"class_path": "foveal.models.byte_tokenizer"}
    found = shapes_of(VisionLanguageModel, settings_of("llava/7b.yaml", tokenizer=tokenizer))
    linear = 4 * 64**2 + 3 * 64 * 96 + 2 * 64
    assert parameters(found.built).language_model == 2 * linear + 64 + 2 * 400 * 64
    assert found.remarks == ()


def test_how_settings_are_quantised():
    assert quantization(settings_of("llava/7b.yaml")) is None
    named = {"class_path": "foveal.models.pretrained_language_model", "init_args": {"quantize": "nf4"}}
    assert quantization(settings_of("llava/7b.yaml", language_model=named)) == "nf4"
    assert quantization({"class_path": "foveal.models.load", "init_args": {"quantize": "nf4-dq"}}) == "nf4-dq"


MEMORY = Memory(weights=int(4e9), cache=int(1e9), gradients=0, optimizer=0, activations=int(5e8))


def test_a_refusal_has_all_figures():
    refuse_if_too_large(MEMORY, int(5.5e9), what="it", advice="less is less")
    with pytest.raises(ValueError, match=r"it needs 5\.50 GB") as refused:
        refuse_if_too_large(MEMORY, int(5.5e9) - 1, what="it", advice="less is less")
    for figure in ("weights 4.00", "cache 1.00", "activations 0.50", "5.50 GB are free", "less is less"):
        assert figure in str(refused.value)
    assert "gradients" not in str(refused.value)


def test_the_smallest_card():
    assert smallest_card(int(7.4e9)) == "8 GiB"
    assert smallest_card(int(11e9)) == "12 GiB"
    assert smallest_card(int(7.6e9)) == "12 GiB"
    assert smallest_card(int(1e12)) == "-"


def test_only_gpus_are_judged():
    assert free_bytes("cpu") is None
    check_room_to_fit({}, free=None)
    check_room_to_answer("nowhere", [], "What?", new_tokens=1, free=None)
    assert device_to_fit({"accelerator": "cpu"}).type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_is_free_on_a_gpu():
    assert 0 < free_bytes("cuda") <= torch.cuda.get_device_properties(0).total_memory
    assert device_to_fit({"accelerator": "auto"}).type == "cuda"


@pytest.mark.parametrize(
    ("strategy", "devices", "nodes", "ranks"),
    [
        ("auto", 8, 1, 1),
        ("ddp", 8, 1, 1),
        (SHARDED, 8, 1, 8),
        (SHARDED, [0, 1], 2, 4),
        (SHARDED | {"init_args": {"shard_size": 4}}, "4", 2, 4),
    ],
)
def test_devices_among_which_a_model_is_divided(strategy, devices, nodes, ranks):
    assert ranks_of({"strategy": strategy, "devices": devices, "num_nodes": nodes}) == ranks


def fit_settings(*, precision="bf16-mixed", strategy="auto", devices=1, **rates):
    model = {"network": settings_of("llava/7b.yaml"), "encoder_lr": None, "connector_lr": 1e-3, **rates}
    trainer = {"precision": precision, "strategy": strategy, "devices": devices, "num_nodes": 1}
    return {"model": model, "trainer": {**trainer, "accumulate_grad_batches": 1}, "data": {}}


def needed(settings):
    with pytest.raises(ValueError, match="training on batches of 1 samples of 672x672 pixels needs") as refused:
        check_room_to_fit(settings, free=0)
    return {part: float(figure) for part, figure in re.findall(r"(needs|[a-z]+) (\d+\.\d\d)", str(refused.value))}


def test_a_training_is_refused_before_weights_are_read():
    """LLaVA-1.5's stages: the language model is in bf16, its encoder and its connector of 21 M in float32."""
    connector = needed(fit_settings())
    assert connector["optimizer"] == pytest.approx(2 * 4 * 20_979_712 / 1e9, abs=0.006)
    assert connector["gradients"] == pytest.approx(4 * 20_979_712 / 1e9, abs=0.006)
    everything = needed(fit_settings(language_model_lr=2e-5))
    assert everything["optimizer"] == pytest.approx((4 * VICUNA_7B + 8 * 20_979_712) / 1e9, abs=0.006)
    assert everything["weights"] == connector["weights"]
    check_room_to_fit(fit_settings(), free=int(connector["needs"] * 1e9 + 1e7))
    halves = needed(fit_settings(precision="bf16-true"))
    encoder = 303_507_456 - CLIP_BEHIND - 2_048
    assert connector["weights"] - halves["weights"] == pytest.approx(2 * (encoder + 20_979_712) / 1e9, abs=0.011)
    sharded = needed(fit_settings(language_model_lr=2e-5, strategy=SHARDED, devices=8))
    assert sharded["optimizer"] < everything["optimizer"] / 7


def test_what_is_wrong_with_a_checkpoint_is_said_alone():
    network = {"class_path": "foveal.models.load", "init_args": {"folder": "nowhere"}}
    with pytest.raises(ValueError, match=r"^there is no folder nowhere, and a hub name looks like "):
        shapes_of(VisionLanguageModel, network)


def test_an_adapter_whose_base_has_gone(adapter, checkpoint):
    checkpoint[0].rename(checkpoint[0].with_name("elsewhere"))
    with pytest.raises(ValueError, match=r"adapter needs its base, and there is no folder .*change base\.folder in"):
        check_room_to_answer(adapter, [Size(28, 28)], "What?", new_tokens=8, free=1)


def test_batches_of_the_data_module():
    assert batch_size({"class_path": "recipes.data.PagesData", "init_args": {"batch_size": 4}}) == 4
    assert batch_size({"class_path": "recipes.data.PagesData"}) == 1


@pytest.fixture
def checkpoint(tmp_path):
    settings = settings_of("uhd.yaml")
    real, shape = (shapes_of(VisionLanguageModel, settings).built for _ in range(2))
    real.to_empty(device="cpu")
    for weight in real.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    real.language_model.tie_weights()
    return save(real, tmp_path / "checkpoint"), shape


@pytest.fixture
def published(tmp_path):
    """A LLaVA as saved by transformers."""
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=28, patch_size=7),
        text_config=LlamaConfig(**sizes, vocab_size=272, max_position_embeddings=256),
    )
    LlavaForConditionalGeneration(config).save_pretrained(tmp_path / "published")
    byte_tokenizer().save_pretrained(tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def adapter(checkpoint, tmp_path):
    """Adapters on a 4-bit decoder."""
    folder, _ = checkpoint
    model = load(folder, quantize="nf4-dq")
    add_lora(model, Lora(rank=4, alpha=8, dropout=0.0))
    return save_adapter(model, tmp_path / "adapter", base=folder)


def test_an_answer_is_refused_before_weights_are_read(checkpoint, monkeypatch):
    folder, model = checkpoint
    for reader in ("foveal.models.checkpoints.folder.read_tensors", "transformers.modeling_utils.load_state_dict"):
        monkeypatch.setattr(reader, lambda *_, **__: pytest.fail("weights were read"))
    sizes, turns = [Size(96, 64)], [Turn("user", "<image>\nWhat?")]
    text = model.processor.length(sizes, turns, open_ended=True) - sum(prompt_tokens(model, sizes))
    needs = answering(model, sizes, text=text, new_tokens=8).total
    check_room_to_answer(folder, sizes, "What?", new_tokens=8, free=needs)
    with pytest.raises(ValueError, match=r"answering with .*checkpoint needs 0\.0\d GB"):
        check_room_to_answer(folder, sizes, "What?", new_tokens=8, free=needs - 1)


@pytest.mark.parametrize("name", ["checkpoint", "published", "adapter"])
def test_every_kind_of_folder_is_judged_before_its_weights_are_read(request, monkeypatch, name):
    folder = request.getfixturevalue(name)
    folder = folder[0] if name == "checkpoint" else folder
    real = load(folder)
    tensors = (*real.state_dict().values(), *real.buffers())
    stored = sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())
    found = []
    monkeypatch.setattr("recipes.estimates.room.refuse_if_too_large", lambda memory, free, **_: found.append(memory))
    readers = (
        "foveal.models.checkpoints.adapter.read_tensors",
        "foveal.models.checkpoints.adapter.weights_hash",
        "foveal.models.checkpoints.folder.read_tensors",
        "foveal.core.tensors.StoredTensors.stream",
        "transformers.modeling_utils.load_state_dict",
    )
    for reader in readers:
        monkeypatch.setattr(reader, lambda *_, **__: pytest.fail("weights were read"))
    check_room_to_answer(folder, [Size(28, 28)], "What?", new_tokens=8, free=1)
    (memory,) = found
    assert memory.weights == pytest.approx(stored, rel=0.01)
    if name == "published":
        network = {"class_path": "foveal.models.load", "init_args": {"folder": str(folder)}}
        shapes = shapes_of(VisionLanguageModel, network).built.state_dict()
        assert {key: tensor.shape for key, tensor in shapes.items()} == {
            key: tensor.shape for key, tensor in real.state_dict().items()
        }
        network["init_args"]["quantize"] = "nf4-dq"
        assert shapes_of(VisionLanguageModel, network).built.state_dict().keys() == shapes.keys()
        check_room_to_answer(folder, [Size(28, 28)], "What?", new_tokens=8, free=1, quantize="nf4")
        assert found[1].weights < 0.9 * memory.weights
