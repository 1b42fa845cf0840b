"""Decoders in 4 or 8 bits: their outputs, saving and loading, and refused inputs."""

import copy
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from foveal.connectors import AdaptivePool, Chain, MlpProjector, MMFuser, Parallel, PerceiverResampler
from foveal.encoders import ParallelEncoder, SamViTDet, VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Turn,
    UhdPlan,
    VaryPlan,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    llama,
    load,
    opt,
    pretrained_language_model,
    qwen3,
    save,
)
from foveal.models.language_models.quantize import (
    import_bitsandbytes,
    quantize,
    quantized_layers,
    recorded_kind,
    refuse_training,
)

KINDS = ("nf4", "nf4-dq", "int8")
DECODERS = {
    "llama": (llama, {"width": 64, "depth": 2, "heads": 4, "mlp_width": 192}, 7),
    # Neither 96 nor 160 is a whole number of blocks of 64.
    "opt": (opt, {"width": 96, "depth": 2, "heads": 4, "mlp_width": 160}, 6),
    "qwen3": (qwen3, {"width": 96, "depth": 2, "heads": 3, "mlp_width": 288}, 7),
}
LLAMA = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
}  # fmt: skip
OPT = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"}


def decoder(name="llama", vocabulary=260, **other):
    """A language model whose answers depend on every weight."""
    build, sizes, _ = DECODERS[name]
    model = build(vocabulary, **(sizes | other)).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.15)
    return model


def saved(model, folder, **options):
    model.save_pretrained(folder, **options)
    return str(folder)


@torch.no_grad()
def logits(model):
    return model(torch.arange(40).view(2, 20) * 6 % 260).logits


def assert_same(first, second):
    """All weights have equal bytes, and logits are equal."""
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name
    assert torch.equal(logits(first), logits(second))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DECODERS)
def test_the_linear_layers_of_the_decoder_and_nothing_else(name, kind):
    model = decoder(name)
    before = copy.deepcopy(model)
    names = quantize(model, kind)
    prefix = "model.decoder.layers" if name == "opt" else "model.layers"
    assert set(names) == {
        f"{prefix}.{layer}.{part}" for layer in range(2) for part in (OPT if name == "opt" else LLAMA)
    }
    assert len(names) == 2 * DECODERS[name][2]
    assert quantized_layers(model) == names
    assert recorded_kind(model.config) == kind
    quantized = {f"{name}.weight" for name in names}
    for weight, tensor in before.named_parameters():
        if weight not in quantized:
            assert torch.equal(model.get_parameter(weight), tensor)
            assert model.get_parameter(weight).requires_grad
    assert not any(model.get_parameter(weight).requires_grad for weight in quantized)
    bits = {"nf4": 4.5, "nf4-dq": 4.127, "int8": 8.5}[kind]
    ours = sum(v.nbytes for k, v in model.state_dict().items() if any(k.startswith(f"{n}.") for n in names))
    biases = sum(before.get_submodule(n).bias.nbytes for n in names if before.get_submodule(n).bias is not None)
    weights = sum(before.get_submodule(n).weight.numel() for n in names)
    # One scale for every 64 weights (for every row), and tables that even a small layer has.
    assert ours - biases < weights * bits / 8 + len(names) * 1800


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["nf4", "nf4-dq"])
@pytest.mark.parametrize("name", DECODERS)
def test_it_computes_with_the_dequantised_weights(name, kind, dtype, tmp_path):
    model = pretrained_language_model(saved(decoder(name).to(dtype), tmp_path))
    plain = copy.deepcopy(model)
    for layer in quantize(model, kind):
        plain.get_submodule(layer).weight.data = by_hand(model.get_submodule(layer), kind).to(dtype)
    assert model.dtype == dtype
    torch.testing.assert_close(logits(model), logits(plain), rtol=0, atol=0)


def by_hand(layer, kind):
    """The weight, computed from its entries in a state dict, without the library's kernels."""
    stored = layer.state_dict()
    scales = stored["weight.absmax"]
    if kind == "nf4-dq":
        offset = layer.weight.quant_state.offset
        scales = stored["weight.nested_quant_map"][scales.long()]
        scales = scales * stored["weight.nested_absmax"].repeat_interleave(256)[: len(scales)] + offset
    packed = stored["weight"].flatten()
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()
    shape = (layer.out_features, layer.in_features)
    return (stored["weight.quant_map"][codes] * scales.repeat_interleave(64)[: len(codes)]).view(shape)


def test_int8_rounds_weights_by_row_and_inputs_where_it_does_not_train():
    model = decoder()
    plain = copy.deepcopy(model)
    for name in quantize(model, "int8"):
        linear, layer = plain.get_submodule(name), model.get_submodule(name)
        half = linear.weight.half().float()
        scales = half.abs().amax(dim=1, keepdim=True)
        expected = (half / scales * 127).round() * scales / 127
        # A weight half-way between two values may be rounded to either.
        assert ((layer.dequantized() - expected).abs() <= scales / 127 * 1.001).all()
        assert ((layer.dequantized() - expected).abs() > 1e-6).float().mean() < 0.001
        linear.weight.data = layer.dequantized()
    model.train()
    torch.testing.assert_close(logits(model), logits(plain), rtol=0, atol=2e-5)
    for name in quantized_layers(model.eval()):
        weight, x = plain.get_submodule(name).weight, torch.randn(5, 64 if "down" not in name else 192)
        bound = x.abs().amax(dim=1, keepdim=True) / 127 / 2 * weight.abs().sum(dim=1)
        error = (model.get_submodule(name)(x) - F.linear(x, weight)).abs()
        # The other hundredth is for inputs that are rounded to float16 first.
        assert (error <= 1.01 * bound).all()
        assert error.max() > 0


@pytest.mark.parametrize("double", [False, True])
def test_chunks_give_what_the_library_gives_at_once(double, monkeypatch):
    import_bitsandbytes()
    from bitsandbytes.functional import quantize_4bit

    from foveal.models.language_models import quantized_linear

    linear = nn.Linear(96, 333)
    monkeypatch.setattr(quantized_linear, "CHUNK", 640)
    layer = quantized_linear.Linear4bit(linear, double=double)
    layer.quantize_(linear.weight)
    packed, state = quantize_4bit(linear.weight.data, quant_type="nf4", compress_statistics=double)
    assert torch.equal(layer.weight.data, packed)
    ours, theirs = layer.weight.quant_state.as_dict(packed=True), state.as_dict(packed=True)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DECODERS)
def test_a_folder_is_quantised_while_it_is_read_and_not_again(name, kind, tmp_path):
    plain = saved(decoder(name), tmp_path / "plain", max_shard_size="100KB")
    assert len(list((tmp_path / "plain").glob("*.safetensors"))) > 2
    model = pretrained_language_model(plain)
    quantize(model, kind)
    streamed = pretrained_language_model(plain, quantize=kind)
    assert not streamed.training
    assert_same(streamed, model)
    logits(model)  # using the model changes nothing in it
    folder = saved(model, tmp_path / "quantised", max_shard_size="50KB")
    again = pretrained_language_model(folder)
    assert_same(again, model)
    assert recorded_kind(again.config) == kind
    assert_same(pretrained_language_model(folder, quantize=kind), model)
    other = next(other for other in KINDS if other != kind)
    with pytest.raises(ValueError, match=f"is quantised already, as {kind}: it cannot be quantised again, as {other}"):
        pretrained_language_model(folder, quantize=other)


def test_its_dtype_is_that_of_everything_else(tmp_path):
    plain = saved(decoder().bfloat16(), tmp_path / "plain")
    model = pretrained_language_model(plain, quantize="nf4")
    assert model.dtype == torch.bfloat16
    packed = model.model.layers[0].mlp.up_proj.weight
    again = pretrained_language_model(saved(model, tmp_path / "nf4"), dtype="float32")
    assert {weight.dtype for weight in again.parameters()} == {torch.float32, torch.uint8}
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, packed)
    full = pretrained_language_model(plain, dtype="float32")
    for name in quantized_layers(again):
        full.get_submodule(name).weight.data = again.get_submodule(name).dequantized(torch.float32)
    torch.testing.assert_close(logits(again), logits(full), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_casting_and_copying_leave_the_weights(kind):
    model = decoder("opt")
    quantize(model, kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moved = copy.deepcopy(model).to("cpu", torch.bfloat16)
    names = quantized_layers(model)
    for name, tensor in moved.state_dict().items():
        if any(name.startswith(f"{layer}.") for layer in names) and not name.endswith(".bias"):
            assert tensor.dtype == before[name].dtype
            assert torch.equal(tensor, before[name]), name
    assert logits(moved).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_state_restores_it(kind):
    model, other = decoder(), decoder()
    quantize(model, kind)
    quantize(other, kind)
    logits(model), logits(other)
    other.load_state_dict(model.state_dict())
    assert_same(other, model)
    with pytest.raises(ValueError, match=r"q_proj\.weight is not quantised, but the layer is"):
        other.load_state_dict(decoder().state_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_gradients_pass_through(name, kind):
    model = decoder(name).train()
    names = quantize(model, kind)
    plain = copy.deepcopy(model)
    for name in names:
        layer = plain.get_submodule(name)
        linear = nn.Linear(layer.in_features, layer.out_features, bias=False)
        linear.weight.data = layer.dequantized(torch.float32)
        parent, _, leaf = name.rpartition(".")
        setattr(plain.get_submodule(parent), leaf, linear)
    ids = torch.arange(20).view(1, 20)
    for each in (model, plain):
        F.cross_entropy(each(ids).logits[0, :-1], ids[0, 1:]).backward()
    for ours, theirs in ((model.model.embed_tokens, plain.model.embed_tokens), (model.model.norm, plain.model.norm)):
        assert theirs.weight.grad.abs().max() > 1e-3
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-6)
    assert model.get_submodule(names[0]).weight.grad is None


def test_autocast_reaches_the_layers():
    model = decoder("opt")
    seen = []
    for name in quantize(model, "nf4"):
        model.get_submodule(name).register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    bias = model.model.decoder.layers[0].fc1.bias
    before = bias.clone()
    with torch.autocast("cpu", torch.bfloat16):
        logits(model)
    assert set(seen) == {torch.bfloat16}
    assert bias.dtype == torch.float32
    assert torch.equal(bias, before)


def test_transformers_opens_the_folder(tmp_path):
    from transformers import AutoModelForCausalLM

    model = decoder()
    names = quantize(model, "nf4-dq")
    opened = AutoModelForCausalLM.from_pretrained(saved(model, tmp_path))
    stored, theirs = model.state_dict(), opened.state_dict()
    assert type(opened.lm_head) is nn.Linear
    for name in names:
        assert type(opened.get_submodule(name)).__name__ == "Linear4bit"
        assert torch.equal(theirs[f"{name}.weight"], stored[f"{name}.weight"])
        assert torch.equal(theirs[f"{name}.weight.nested_absmax"], stored[f"{name}.weight.nested_absmax"])


def vision(layers=(-1,)):
    return VisionTransformer(16, 2, 2, 24, 7, 28, layers=layers)


def linear(in_width, out_width):
    return MlpProjector(in_width, out_width, depth=1)


METHODS = {
    "llava": lambda: (vision(), MlpProjector, decoder(), PadToSquare(28), {}),
    "uhd": lambda: (
        vision(),
        lambda i, o: PerceiverResampler(i, o, queries=4, heads=2),
        decoder(),
        UhdPlan(28, 7, 4),
        {},
    ),
    "deepstack": lambda: (
        vision(),
        MlpProjector,
        decoder(depth=4),
        DeepStackPlan(28),
        {"merge": lambda width: DeepStackMerge(width, start_layer=0)},
    ),
    "vary": lambda: (
        ParallelEncoder(
            [
                vision(),
                SamViTDet(
                    16, 2, 2, 7, 112, window=5, global_blocks=(1,), neck_width=8, downsample=(12, 16), mlp_ratio=2
                ),
            ]
        ),
        lambda i, o: Parallel(i, o, branches=[linear, linear]),
        decoder("opt", 264),
        VaryPlan(112, 28),
        {"template": "vary", "tokenizer": byte_tokenizer(["<|im_start|>", "<|im_end|>", "<img>", "</img>"])},
    ),
    "mmfuser": lambda: (
        vision((-2, -1)),
        lambda i, o: Chain(i, o, stages=[lambda w: MMFuser(w, heads=2, points=2)], last=MlpProjector),
        decoder("qwen3"),
        PadToSquare(28),
        {},
    ),
    "pooled": lambda: (vision(), lambda i, o: AdaptivePool(i, o, rows=2, columns=2), decoder(), PadToSquare(28), {}),
}


def picture(width=60, height=40):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def replies(model):
    return [answer(model, [picture(*size)], "What?", max_new_tokens=12) for size in ((60, 40), (20, 70))]


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) if name in ("uhd", "mmfuser") else name for name in METHODS]
)
def test_every_method_answers_the_same_after_a_reload(method, tmp_path):
    encoder, connector, language_model, plan, options = METHODS[method]()
    tokenizer = options.pop("tokenizer", None) or byte_tokenizer()
    model = VisionLanguageModel(
        encoder, connector, language_model, tokenizer, plan, **{"system": "", "max_length": 1024, **options}
    ).eval()
    plain = save(model, tmp_path / "plain")
    quantize(model.language_model, "nf4-dq")
    expected = replies(model)
    for folder, kind in ((save(model, tmp_path / "quantised"), None), (plain, "nf4-dq")):
        again = load(folder, quantize=kind)
        ours, theirs = again.state_dict(), model.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
        assert replies(again) == expected
    assert_same(load(save(again, tmp_path / "quantised")).language_model, model.language_model)


def test_stacks_enter_a_quantised_decoder():
    encoder, connector, language_model, plan, options = METHODS["deepstack"]()
    model = VisionLanguageModel(encoder, connector, language_model, byte_tokenizer(), plan, system="", **options).eval()
    quantize(language_model, "nf4")
    entered = []
    for layer in language_model.model.layers:
        layer.input_layernorm.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    sample = model.processor.encode_prompt([picture()], [Turn("user", "<image>\nWhat?")])
    batch = model.processor.collate([sample], side="left")
    prompt = model.embed(batch.input_ids, batch.views, batch.sizes)
    assert prompt.stacks
    with torch.no_grad():
        model(batch.input_ids, batch.views, sizes=batch.sizes)
        (stack,) = [stack for stack in prompt.stacks if stack.layer == 0]
        added = entered[0][stack.rows, stack.columns] - prompt.embeddings[stack.rows, stack.columns]
    torch.testing.assert_close(added, stack.values, rtol=0, atol=1e-5)


def test_loading_in_another_dtype_keeps_positions_and_packed_weights(tmp_path):
    encoder, connector, language_model, plan, _ = METHODS["uhd"]()
    quantize(language_model, "nf4")
    folder = save(VisionLanguageModel(encoder, connector, language_model, byte_tokenizer(), plan), tmp_path / "model")
    model = load(folder, dtype="bfloat16")
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16, torch.uint8}
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(
        model.language_model.model.layers[1].mlp.up_proj.weight, language_model.model.layers[1].mlp.up_proj.weight
    )
    assert len(replies(model)) == 2


def test_what_is_refused(tmp_path):
    model = decoder()
    with pytest.raises(ValueError, match="'nf5' is not a type of quantisation; there are nf4, nf4-dq, int8"):
        quantize(model, "nf5")
    refuse_training(model)
    quantize(model, "nf4")
    with pytest.raises(ValueError, match="is quantised already, as nf4"):
        quantize(model, "int8")
    with pytest.raises(ValueError, match=r"is quantised as nf4: .* no gradients, .* train LoRA"):
        refuse_training(model)
    other = decoder()
    other.model.layers[1].experts = nn.ParameterList([torch.ones(3, 64, 64)])
    with pytest.raises(ValueError, match=r"14 linear layers and 1 other matrices .*model\.layers\.1\.experts\.0"):
        quantize(other, "nf4")
    uneven = decoder()
    uneven.model.layers[1].mlp.up_proj = nn.Identity()
    with pytest.raises(ValueError, match=r"13 linear layers .* the same number of linear layers"):
        quantize(uneven, "nf4")
    foreign = saved(model, tmp_path)
    path = tmp_path / "config.json"
    described = path.read_text()
    for before, after, message in (
        ('"nf4"', '"fp4"', "by its config.json it is quantised as fp4, its tensors are nf4"),
        ('"nf4"', '"nf5"', "is quantised with bnb_4bit_quant_type 'nf5', only nf4 and fp4 can be read"),
        (
            '"bnb_4bit_quant_type"',
            '"bnb_4bit_quant_storage": "bfloat16", "bnb_4bit_quant_type"',
            "is quantised with bnb_4bit_quant_storage 'bfloat16', only 'uint8' can be read",
        ),
    ):
        path.write_text(described.replace(before, after))
        with pytest.raises(ValueError, match=message):
            pretrained_language_model(foreign)
    for kind in ("fp4", "nf5"):
        with pytest.raises(ValueError, match=f"'{kind}' is not a type of quantisation; there are nf4, nf4-dq, int8"):
            pretrained_language_model(saved(decoder(), tmp_path / kind), quantize=kind)


def test_tensors_that_do_not_fit_are_found_before_any_is_read(tmp_path, monkeypatch):
    plain = saved(decoder(), tmp_path / "plain")
    packed = pretrained_language_model(plain, quantize="nf4-dq")
    quantised = saved(packed, tmp_path / "quantised")
    monkeypatch.setattr("foveal.core.tensors.StoredTensors.stream", lambda *_: pytest.fail("was read"))
    up = "model.layers.0.mlp.up_proj.weight"
    for folder, name in ((plain, up), (quantised, f"{up}.nested_absmax"), (quantised, up)):
        path = f"{folder}/model.safetensors"
        tensors = load_file(path)
        for changed, message in (
            ({key: value for key, value in tensors.items() if key != name}, "1 missing tensors"),
            (tensors | {"model.extra": torch.zeros(2)}, "1 unexpected tensors"),
            *([(tensors | {name: torch.zeros(9, 1)}, "1 mismatched tensors")] if name == up else []),
        ):
            save_file(changed, path, metadata={"format": "pt"})
            with pytest.raises(ValueError, match=message):
                pretrained_language_model(folder, quantize="nf4-dq")
        save_file(tensors, path, metadata={"format": "pt"})
    (tmp_path / "plain" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        pretrained_language_model(plain, quantize="int8")


def test_new_tokens_and_longer_contexts(tmp_path):
    folder = saved(decoder("opt"), tmp_path)
    model = pretrained_language_model(folder, quantize="nf4", vocabulary=264, context=4096)
    plain = pretrained_language_model(folder, vocabulary=264, context=4096)
    assert torch.equal(model.get_input_embeddings().weight, plain.get_input_embeddings().weight)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.max_position_embeddings == 4096


def test_the_first_qwen(golden, tmp_path):
    config = {
        "model_type": "qwen", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 2,
        "num_attention_heads": 4, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000, "seq_length": 64,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = golden.strip(golden("vary/qwen1_lm").tensors, "w.")
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()}
        | {"transformer.h.1.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool)},
        tmp_path / "model.safetensors",
    )
    expected = pretrained_language_model(str(tmp_path))
    quantize(expected, "nf4-dq")
    model = pretrained_language_model(str(tmp_path), quantize="nf4-dq")
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_on_the_meta_device_no_weight_is_read(tmp_path):
    folder = saved(decoder(), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with torch.device("meta"):
        model = pretrained_language_model(folder, dtype="bfloat16", vocabulary=300, quantize="nf4")
    assert all(weight.is_meta and weight.dtype == torch.bfloat16 for weight in model.parameters())
    assert model.get_input_embeddings().weight.shape == (300, 64)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"pip install 'foveal-models\[quant\]'"):
        quantize(decoder(), "nf4")


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_nothing_is_said_unasked():
    code = (
        "import torch\n"
        "from foveal.models import llama\n"
        "from foveal.models.language_models.quantize import quantize\n"
        "for kind in ('nf4-dq', 'int8'):\n"
        "    model = llama(260, width=64, depth=1, heads=4, mlp_width=64).eval()\n"
        "    quantize(model, kind)\n"
        "    model(torch.arange(9)[None])\n"
        "import logging\n"
        "logging.getLogger('bitsandbytes.backends.cpu.ops').warning('of use')\n"
    )
    assert run(code).stderr == "of use\n"


PEAK = """
import sys
from pathlib import Path
import transformers
from foveal.models import pretrained_language_model

def memory(field):
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1])

transformers.utils.logging.disable_progress_bar()
small, folder, kind = sys.argv[1:]
pretrained_language_model(small, quantize="nf4")
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
model = pretrained_language_model(folder, quantize=kind if kind != "None" else None)
size = sum(tensor.nbytes for tensor in model.state_dict().values() if tensor.max() is not None)
print(memory("VmHWM") - before, size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of a process's memory is read")
def test_no_more_than_a_shard_and_a_layer_beside_the_result(tmp_path):
    small = saved(decoder(), tmp_path / "small")
    with torch.device("meta"):
        model = llama(256, width=1024, depth=12, heads=8, mlp_width=2816).bfloat16()
    model = model.to_empty(device="cpu")
    for weight in model.parameters():
        weight.data.normal_(std=0.02)
    whole = sum(weight.nbytes for weight in model.parameters())
    layer = sum(weight.nbytes for weight in model.model.layers[0].parameters())
    plain = saved(model, tmp_path / "plain", max_shard_size="64MB")
    shard = max(file.stat().st_size for file in (tmp_path / "plain").glob("*.safetensors"))
    assert whole > 300e6
    peak, _ = map(int, run(PEAK, small, plain, None).stdout.split())
    assert peak > 0.95 * whole  # so the measurement would notice it
    for kind in ("nf4-dq", "int8"):
        peak, size = map(int, run(PEAK, small, plain, kind).stdout.split())
        assert size < (0.6 if kind == "int8" else 0.35) * whole
        assert peak <= size + shard + layer
        folder = saved(pretrained_language_model(plain, quantize=kind), tmp_path / kind, max_shard_size="64MB")
        peak, size = map(int, run(PEAK, small, folder, None).stdout.split())
        assert peak <= size + shard + layer


def test_the_filter_is_set_once():
    import_bitsandbytes()
    import_bitsandbytes()
    assert len(logging.getLogger("bitsandbytes.autograd._functions").filters) == 1
