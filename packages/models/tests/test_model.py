"""The model's guarantees: loss, padding, generation, checkpoints, faults."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from foveal.connectors import AdaptivePool, MlpProjector, Parallel, PerceiverResampler
from foveal.encoders import ParallelEncoder, VisionTransformer
from foveal.models import (
    IGNORE_INDEX,
    AnyResMerge,
    AnyResPlan,
    PadToSquare,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    generate,
    llama,
    load,
    load_encoder,
    qwen3,
    save,
)


def model_of(language_model=None, **options):
    torch.manual_seed(5)
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        lambda i, o: PerceiverResampler(i, o, queries=4, heads=2),
        language_model or llama(260, width=32, depth=2, heads=2, mlp_width=48, context=400),
        byte_tokenizer(),
        UhdPlan(28, 7, 4),
        **({"system": "", "max_length": 400} | options),
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def samples(model):
    pictures = [picture(60, 40), picture(20, 90, 5)]
    return [
        model.processor.encode([pictures[0]], [Turn("user", "<image>\nWhat?"), Turn("assistant", "A")], key="a"),
        model.processor.encode([], [Turn("user", "Hello"), Turn("assistant", "Hello to you")], key="b"),
        model.processor.encode([pictures[1]], [Turn("user", "<image>\nAnd?"), Turn("assistant", "Red, blue")], key="c"),
    ]


def test_loss_of_a_batch_is_the_sum_of_its_samples():
    model = model_of()
    collate, each = model.processor.collate, samples(model)
    together = model.loss(collate(each))
    alone = [model.loss(collate([sample])) for sample in each]
    left = model.loss(collate(each, side="left"))
    assert together.tokens == left.tokens == sum(loss.tokens for loss in alone)
    torch.testing.assert_close(together.total, sum(loss.total for loss in alone), atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(left.total, together.total, atol=1e-4, rtol=1e-6)


def test_loss_is_the_language_models_own():
    model = model_of()
    batch = model.processor.collate(samples(model))
    ours = model.loss(batch)
    output = model.language_model(
        inputs_embeds=model.embed(batch.input_ids, batch.views).embeddings,
        attention_mask=batch.attention_mask.long(),
        labels=batch.labels,
    )
    torch.testing.assert_close(ours.total / ours.tokens, output.loss)


def test_gradient_reaches_every_part():
    model = model_of().train()
    model.loss(model.processor.collate(samples(model))).total.backward()
    for part in (model.encoder, model.connector, model.language_model):
        assert all(weight.grad is not None for weight in part.parameters() if weight.requires_grad)
        assert any(weight.grad.abs().sum() > 0 for weight in part.parameters() if weight.requires_grad)


@pytest.mark.parametrize("kind", [llama, qwen3])
def test_greedy_answers_of_a_ragged_batch_are_those_one_by_one(kind):
    model = model_of(kind(260, width=32, depth=2, heads=2, mlp_width=48, context=400))
    questions = [
        ([picture(60, 40)], "<image>\nWhat?"),
        ([], "Hi"),
        ([picture(20, 90)], "<image>\nWhat is this, please?"),
    ]
    prompts = [model.processor.encode_prompt(pictures, [Turn("user", text)]) for pictures, text in questions]
    together = generate(model, model.processor.collate(prompts, side="left"), max_new_tokens=10)
    alone = [generate(model, model.processor.collate([one], side="left"), max_new_tokens=10)[0] for one in prompts]
    assert together == alone
    assert len(set(together)) == 3


@torch.no_grad()
def test_cached_generation_is_one_forward_after_the_other():
    model = model_of()
    prompt = model.processor.encode_prompt([picture()], [Turn("user", "<image>\nWhat?")])
    ids = prompt.input_ids
    for _ in range(8):
        following = model(ids[None], prompt.views)[0, -1].argmax()
        ids = torch.cat([ids, following[None]])
        if int(following) in model.processor.stop_ids:
            break
    expected = model.processor.decode(ids[len(prompt.input_ids) :])
    assert answer(model, [picture()], "What?", max_new_tokens=8) == expected


def test_streaming_gives_the_same_text():
    model = model_of()
    pieces = []
    text = answer(model, [picture()], "What?", max_new_tokens=12, on_text=pieces.append)
    assert "".join(pieces).rstrip() == text
    assert not model.train().eval().training


def test_sampling_follows_the_seed():
    model = model_of()
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(answer(model, [picture()], "What?", max_new_tokens=12, temperature=2.0))
    assert draws[0] == draws[1] != draws[2]


def test_generation_leaves_the_mode_as_it_was():
    model = model_of().train()
    answer(model, [], "What?", max_new_tokens=1)
    assert model.training


def test_what_generation_refuses():
    model = model_of()
    prompts = [model.processor.encode_prompt([], [Turn("user", text)]) for text in ("a", "bbb")]
    with pytest.raises(ValueError, match='padded on the right: collate them with side="left"'):
        generate(model, model.processor.collate(prompts))
    with pytest.raises(ValueError, match="exceed the language model's context of 400"):
        generate(model, model.processor.collate(prompts, side="left"), max_new_tokens=390)
    with pytest.raises(ValueError, match="one answer can be streamed, not 2 prompts"):
        generate(model, model.processor.collate(prompts, side="left"), on_text=print)


def test_saved_and_loaded_is_the_same(tmp_path):
    model = model_of()
    folder = save(model, tmp_path / "checkpoint")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml",
        "connector.safetensors",
        "encoder.safetensors",
        "language_model",
        "tokenizer",
    ]
    again = load(folder)
    batch = model.processor.collate(samples(model))
    with torch.no_grad():
        assert torch.equal(model(batch.input_ids, batch.views), again(batch.input_ids, batch.views))
    assert again.processor.max_length == model.processor.max_length
    assert again.processor.system == ""
    assert answer(again, [picture()], "What?", max_new_tokens=5) == answer(
        model, [picture()], "What?", max_new_tokens=5
    )
    save(again, folder)  # overwrites an earlier one
    assert not list(tmp_path.glob(".*"))


def test_other_plan_template_and_dtype(tmp_path):
    folder = save(model_of(), tmp_path / "checkpoint")
    again = load(folder, plan=PadToSquare(28), template="plain", max_length=99, dtype="bfloat16")
    assert isinstance(again.processor.plan, PadToSquare)
    assert (again.processor.template, again.processor.system, again.processor.max_length) == ("plain", None, 99)
    assert {weight.dtype for weight in again.parameters()} == {torch.bfloat16}
    text = answer(again, [picture()], "What?", max_new_tokens=3)
    assert isinstance(text, str)
    half = save(again, tmp_path / "half")
    assert {weight.dtype for weight in load(half).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("part", ["encoder", "connector", "language_model/model"])
@pytest.mark.parametrize("fault", ["missing", "unexpected", "misshapen"])
def test_checkpoints_that_do_not_fit(tmp_path, part, fault):
    folder = save(model_of(), tmp_path / "checkpoint")
    path = folder / f"{part}.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[-1]
    if fault == "missing":
        del tensors[name]
    elif fault == "unexpected":
        tensors["odd.weight"] = torch.zeros(3)
    else:
        tensors[name] = torch.zeros(*tensors[name].shape, 2)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(
        (ValueError, RuntimeError), match="odd.weight" if fault == "unexpected" else name.split(".")[-1]
    ):
        load(folder)


def test_folders_that_are_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"is not a checkpoint: it has neither the config\.yaml"):
        load(tmp_path)
    folder = save(model_of(), tmp_path / "checkpoint")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"colour": 1}))
    with pytest.raises(ValueError, match="expected the keys"):
        load(folder)
    evil = config | {"encoder": {"class_path": "os.system", "init_args": {"command": "true"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(evil))
    with pytest.raises(ValueError, match="classes are taken from foveal only"):
        load(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ValueError, match="other exists and is not a checkpoint"):
        save(model_of(), tmp_path / "other")


def test_views_and_placeholders_must_agree():
    model = model_of()
    sample = samples(model)[0]
    with pytest.raises(ValueError, match=r"4 views gave 16 visual tokens, the prompt has 20 placeholders"):
        model(sample.input_ids[None], sample.views[1:])
    with pytest.raises(ValueError, match="0 views gave 0 visual tokens, the prompt has 20"):
        model(sample.input_ids[None])


def test_parts_that_do_not_fit():
    with pytest.raises(ValueError, match="returns 1 prefix tokens before its grid, the connector expects 0"):
        VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28, keep_class_token=True),
            MlpProjector,
            llama_260(),
            byte_tokenizer(),
            UhdPlan(),
        )
    with pytest.raises(ValueError, match="tokenizer has 260 tokens, the language model embeddings for 100"):
        VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28), MlpProjector, llama_260(100), byte_tokenizer(), UhdPlan()
        )
    with pytest.raises(ValueError, match="tokenizer has 262 tokens, the language model embeddings for 261"):
        VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28),
            MlpProjector,
            llama_260(261),
            byte_tokenizer(["<image>", "<box>"]),
            UhdPlan(),
        )
    with pytest.raises(ValueError, match=r"encoder returns 2 maps of widths \(16, 16\), but the connector takes one"):
        VisionLanguageModel(
            VisionTransformer(16, 2, 2, 24, 7, 28, layers=(1, 2)),
            MlpProjector,
            llama_260(),
            byte_tokenizer(),
            UhdPlan(),
        )


def llama_260(vocabulary=260):
    return llama(vocabulary, width=32, depth=1, heads=2, mlp_width=32)


def test_zero_output_layers_are_the_identity():
    plain = qwen3(260, width=32, depth=2, heads=2, mlp_width=32, zero_output=True)
    ids = torch.randint(0, 260, (1, 5))
    embedded = plain.get_input_embeddings()(ids)
    torch.testing.assert_close(plain(ids).logits, plain.lm_head(plain.model.norm(embedded)))


def test_labels_of_pictures_are_never_learnt():
    model = model_of()
    for sample in samples(model):
        assert (sample.labels[sample.input_ids < 0] == IGNORE_INDEX).all()


def test_deco_in_place_of_the_resampler():
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        lambda i, o: AdaptivePool(i, o, rows=2, columns=2),
        llama_260(),
        byte_tokenizer(),
        PadToSquare(28),
    )
    assert isinstance(answer(model, [picture()], "What?", max_new_tokens=2), str)


def test_a_checkpoint_with_a_merge_and_its_encoder_alone(tmp_path):
    model = VisionLanguageModel(
        ParallelEncoder(
            [VisionTransformer(16, 2, 2, 24, 7, 28), VisionTransformer(16, 2, 2, 24, 7, 28)], one_view=True
        ),
        lambda i, o: Parallel(i, o, branches=[MlpProjector, MlpProjector]),
        llama_260(),
        byte_tokenizer(),
        AnyResPlan(28),
        merge=AnyResMerge,
    ).eval()
    folder = save(model, tmp_path / "checkpoint")
    again = load(folder)
    assert torch.equal(again.merge.newline, model.merge.newline)
    batch = model.processor.collate([model.processor.encode_prompt([picture()], [Turn("user", "<image> What?")])])
    with torch.no_grad():
        logits, theirs = (each(batch.input_ids, batch.views, sizes=batch.sizes) for each in (model, again))
        assert torch.equal(logits, theirs)
        encoder = load_encoder(folder)
        views = torch.randn(1, 3, 28, 28)
        assert all(torch.equal(ours, other) for ours, other in zip(encoder(views), model.encoder(views), strict=True))
    (folder / "merge.safetensors").unlink()
    with pytest.raises((ValueError, OSError), match="merge"):
        load(folder)
    with pytest.raises(ValueError, match="is not a checkpoint"):
        load_encoder(tmp_path)


def test_sequences_beyond_the_context_are_refused():
    with pytest.raises(ValueError, match="max_length is 401, the language model's context 400"):
        model_of(max_length=401)


def test_what_a_published_model_recommends_changes_nothing():
    model = model_of()
    plain = answer(model, [picture()], "What?", max_new_tokens=8)
    recommended = model.language_model.generation_config
    recommended.repetition_penalty, recommended.no_repeat_ngram_size = 3.0, 1
    assert answer(model, [picture()], "What?", max_new_tokens=8) == plain
    assert model.language_model.generation_config is recommended


def test_a_text_alone_while_only_the_connector_is_trained():
    model = model_of().train()
    model.requires_grad_(False)
    model.connector.requires_grad_(True)
    sample = samples(model)[1]
    loss = model.loss(model.processor.collate([sample]))
    loss.total.backward()
    assert all(weight.grad is not None for weight in model.connector.parameters() if weight.requires_grad)
    assert torch.equal(loss.total.detach(), model.eval().loss(model.processor.collate([sample])).total)


def test_a_step_of_texts_alone_has_zeros_as_gradients():
    """As on several ranks: parts without gradients are passed over, and would not move by their momentum."""
    model = model_of().train()
    found = []
    for sample in samples(model)[:2]:  # with a picture, and without
        model.zero_grad()
        model.loss(model.processor.collate([sample])).total.backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    seen, read = found
    assert seen.keys() == read.keys()
    assert not any(read[name].any() for name in read if name.startswith(("encoder.", "connector.")))
    assert any(seen[name].any() for name in seen if name.startswith("encoder."))


def test_generation_leaves_every_mode_as_it_was():
    model = model_of().train()
    model.encoder.eval()
    answer(model, [picture()], "What?", max_new_tokens=1)
    assert model.language_model.training
    assert not model.encoder.training


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    run = tmp_path / "version_0"
    run.mkdir()
    (run / "config.yaml").write_text("model: {}\n")
    (run / "metrics.csv").touch()
    with pytest.raises(ValueError, match="version_0 exists and is not a checkpoint"):
        save(model_of(), run)
    assert (run / "metrics.csv").exists()


def test_weights_that_were_collected_elsewhere(tmp_path):
    model, other = model_of(), model_of()
    for weight in other.parameters():
        weight.data.zero_()
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    again = load(save(other, tmp_path / "checkpoint", state=state))
    assert all(torch.equal(weight, state[name]) for name, weight in again.state_dict().items())


def test_what_to_do_with_longer_samples_comes_back(tmp_path):
    folder = save(model_of(overlong="drop_turns"), tmp_path / "checkpoint")
    assert load(folder).processor.overlong == "drop_turns"
    assert load(folder, overlong="raise").processor.overlong == "raise"


def test_parts_of_ones_own_package_are_asked_for(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from foveal.models import PadToSquare\n\n\nclass Mine(PadToSquare):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from mine import Mine

    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28), MlpProjector, llama_260(), byte_tokenizer(), Mine(28)
    )
    folder = save(model, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=r"mine\.Mine: classes are taken from foveal only"):
        load(folder)
    assert isinstance(load(folder, allow=["mine"]).processor.plan, Mine)
