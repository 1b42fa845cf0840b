"""Chat models of today with their own chat templates: Gemma 3, Phi-4-mini, SmolLM2, Granite, Qwen3."""

import pytest
import torch
from packages.models.tests.chat_models import CHATML, KINDS, LINEARS
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    load,
    load_adapter,
    save,
)
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.checkpoints.export import export
from foveal.models.language_models.quantize import quantized_layers
from foveal.models.lora import Lora, add_lora, merge_lora

ONE = [Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")]
MORE = [*ONE, Turn("user", "Sure?"), Turn("assistant", "Yes.")]
PICTURE = Image.linear_gradient("L").resize((32, 24)).convert("RGB")


def build(kind):
    torch.manual_seed(2)
    make, template, words, _ = KINDS[kind]
    tokenizer = byte_tokenizer(words)
    tokenizer.chat_template = template
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 16, 7, 14),
        MlpProjector,
        make(),
        tokenizer,
        PadToSquare(14),
        template="chat",
        max_length=512,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def asked(model, questions=("<image>\nWhat?",)):
    samples = [
        model.processor.encode_prompt([PICTURE] * question.count("<image>"), [Turn("user", question)])
        for question in questions
    ]
    return model.processor.collate(samples, side="left")


@torch.no_grad()
def logits(model, batch):
    return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts(kind):
    """Ids are the template's, an answer's end is learnt and stops the answer, and a question is its beginning."""
    model, (_, _, words, end) = build(kind), KINDS[kind]
    processor, tokenizer = model.processor, model.processor.tokenizer
    whole, asked_ids = processor.encode([PICTURE], ONE).input_ids, asked(model).input_ids[0]
    assert whole[: len(asked_ids)].tolist() == asked_ids.tolist()
    messages = [{"role": turn.role, "content": turn.text} for turn in ONE]
    written = tokenizer.apply_chat_template(messages, tokenize=False)
    before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in written.split("<image>"))
    assert whole.tolist() == [*before, *[IMAGE_TOKEN_ID] * 4, *after]
    labels = processor.encode([PICTURE], ONE).labels
    assert tokenizer.decode(labels[labels != -100]) == f"A cat.{end}"
    stop = words[1] if words == CHATML or kind == "gemma 3" else words[0]
    assert processor.stop_ids == [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(stop)]
    with_system = processor.encode([PICTURE], [Turn("system", "Be kind."), *ONE])
    assert "Be kind." in tokenizer.decode(with_system.input_ids[with_system.input_ids >= 0])


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"qwen3"}))
def test_several_turns_are_learnt(kind):
    """All answers with the tokens that end them; Phi-4-mini writes EOS only once, at the end of the conversation."""
    processor, end = build(kind).processor, KINDS[kind][3]
    sample = processor.encode([PICTURE], MORE)
    learnt = processor.tokenizer.decode(sample.labels[sample.labels != -100])
    assert learnt == f"A cat.{end.removesuffix('</s>')}Yes.{end}"
    messages = [{"role": turn.role, "content": turn.text} for turn in MORE]
    written = processor.tokenizer.apply_chat_template(messages, tokenize=False)
    ids = sample.input_ids[sample.input_ids != IMAGE_TOKEN_ID]
    assert processor.tokenizer.decode(ids) == written.replace("<image>", "")


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_scaled_as_by_the_model_itself(kind):
    """The text's as if ids were given. Visual tokens enter where the model itself would let its embeddings in."""
    model = build(kind)
    text = model.processor.encode([], [Turn("user", "Hello?"), Turn("assistant", "Yes.")]).input_ids[None]
    expected = model.language_model(input_ids=text).logits
    torch.testing.assert_close(model(text), expected, atol=1e-5, rtol=0)
    batch = asked(model)
    places = batch.input_ids == IMAGE_TOKEN_ID
    rows = model.embed(batch.input_ids, batch.views).embeddings[places]
    assert torch.equal(rows, torch.cat(model.visual_tokens(batch.views)))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch_are_answered_as_alone(kind, monkeypatch):
    """Also behind padding that is longer than Gemma's sliding window; and with a cache as without."""
    model = build(kind)
    questions = ("<image>\nWhat?", "And a much longer question without a picture?")
    expected = []
    for question in questions:
        batch = asked(model, (question,))
        ids = batch.input_ids
        for _ in range(6):
            likeliest = model(ids, batch.views, sizes=batch.sizes)[:, -1:].argmax(-1)
            ids = torch.cat([ids, likeliest], dim=1)
        expected.append(ids[0, -6:].tolist())
    assert not set(model.processor.stop_ids) & {token for row in expected for token in row}
    monkeypatch.setattr(model.processor, "decode", list)
    assert generate(model, asked(model, questions), max_new_tokens=6) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_lora_merge_quantise_and_reload(kind, tmp_path):
    """A step of LoRA on the folder, saved and opened again; merged: the same answers; in 4 bits: the same reloaded."""
    save(build(kind), tmp_path / "base")
    model = load(tmp_path / "base")
    names = add_lora(model, Lora(rank=4, alpha=8, dropout=0.0))
    assert len(names) == 2 * LINEARS.get(kind, 7)
    with torch.no_grad():
        for name, weight in model.language_model.named_parameters():
            if "lora_" in name:
                weight.add_(0.05)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    model.train()
    loss = model.loss(model.processor.collate([model.processor.encode([PICTURE], ONE)]))
    loss.total.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in trained)
    torch.optim.SGD(trained, lr=1e-3).step()
    model.eval()
    save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")
    batch, again = asked(model), load_adapter(tmp_path / "adapter")
    assert torch.equal(logits(again, batch), logits(model, batch))
    merge_lora(again.language_model)
    torch.testing.assert_close(logits(again, batch), logits(model, batch), atol=1e-4, rtol=0)
    save(again, tmp_path / "merged")
    assert torch.equal(logits(load(tmp_path / "merged"), batch), logits(again, batch))
    small = load(tmp_path / "merged", quantize="nf4")
    assert len(quantized_layers(small.language_model)) == len(names)
    reloaded = load(save(small, tmp_path / "small"))
    assert torch.equal(logits(reloaded, batch), logits(small, batch))
    assert generate(reloaded, batch, max_new_tokens=4) == generate(small, batch, max_new_tokens=4)


@pytest.mark.parametrize("kind", KINDS)
def test_export(kind, tmp_path):
    """transformers' LLaVA has the same logits, except that it leaves out Granite's scaling of them."""
    done = export(build(kind), tmp_path / "exported")
    if kind == "granite":
        assert done.reason == "the language model, a granite, scales its logits, which a LLaVA of transformers does not"
    else:
        assert (done.kind, done.difference < 1e-5) == ("LlavaForConditionalGeneration", True)
