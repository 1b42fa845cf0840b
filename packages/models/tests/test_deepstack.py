"""DeepStack: stacks injected into decoder layers, against the reference, and where the reference is wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IGNORE_INDEX,
    IMAGE_TOKEN_ID,
    Batch,
    DeepStackHdMerge,
    DeepStackHdPlan,
    DeepStackMerge,
    DeepStackPlan,
    Merged,
    SequenceMerge,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    opt,
    qwen3,
)
from foveal.models.language_models.injection import injected
from foveal.models.published import load_llava

SIZES = {(2, 2): Size(32, 32), (4, 1): Size(64, 16), (2, 1): Size(32, 16), (1, 2): Size(16, 32)}
"""A picture of which each grid of columns and rows is cut."""
CASES = {
    "default": {},
    "start0": {"start_layer": 0},
    "interval2": {"start_layer": 0, "interval": 2},
    "start2": {"start_layer": 2},
    "dummy": {"sampling": "overview"},
    "only_global_at3": {"start_layer": 3, "sampling": "none", "overview": "stacked"},
    "all_from1": {"overview": "stacked"},
    "concat": {},
    "concat_noglobal": {"overview": False},
    "nostack": {},
}


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


@pytest.fixture
def build(golden, small_tokenizer):
    def build(merge=DeepStackMerge, plan=None, **options):
        meta = golden("deepstack/deepstack_l").meta
        clip = meta["clip"]
        sizes = {"width": meta["hidden"], "depth": meta["layers"], "heads": meta["heads"], "mlp_width": meta["inter"]}
        model = VisionLanguageModel(
            VisionTransformer(
                clip["hidden"], clip["layers"], clip["heads"], clip["inter"], clip["patch"], clip["image"]
            ),
            MlpProjector,
            llama(meta["vocab"], **sizes),
            small_tokenizer(meta["vocab"]),
            plan or DeepStackPlan(clip["image"]),
            merge=lambda width: merge(width, **options),
        )
        weights = golden.strip(golden("deepstack/weights").tensors, "w.")
        if merge is DeepStackHdMerge:
            weights |= golden.strip(golden("deepstack/deepstack_hd").tensors, "w.")
        load_llava(model, weights, source="deepstack")
        return model.eval()

    return build


def expanded(tensors, tokens, prefix=""):
    """The reference's rows with one placeholder per visual token, padded on the right."""
    ids, mask = tensors[f"{prefix}input_ids"], tensors[f"{prefix}attention_mask"].bool()
    rows = [
        row[valid].repeat_interleave(torch.where(row[valid] == IMAGE_TOKEN_ID, number, 1))
        for row, valid, number in zip(ids, mask, tokens, strict=True)
    ]
    return padded(rows)


def padded(rows, side="right"):
    pad = nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_side=side)
    return ids, pad([torch.ones(len(row)) for row in rows], batch_first=True, padding_side=side).bool()


@pytest.fixture
def reference(golden):
    """Tensors, the views in our order, and the sizes of the pictures."""
    meta, tensors = golden("deepstack/deepstack_l").meta, golden("deepstack/deepstack_l").tensors
    sizes = [SIZES[tuple(grid)] for grid in meta["grids_wh"]]
    return tensors, [view for row in range(2) for view in tensors[f"views.{row}"]], sizes


def entering(model, *arguments, **options):
    """The input of every decoder layer, including stacks, and the logits."""
    states = []
    handles = [
        layer.input_layernorm.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0]))
        for layer in model.language_model.model.layers
    ]
    logits = model(*arguments, **options)
    for handle in handles:
        handle.remove()
    return states, logits


def leave_out_stacks(model):
    merged = model.merge.forward
    model.merge.forward = lambda *arguments: Merged(merged(*arguments).tokens)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_logits(build, reference, case):
    tensors, views, sizes = reference
    model = build(SequenceMerge if case.startswith("concat") else DeepStackMerge, **CASES[case])
    if case == "nostack":
        leave_out_stacks(model)
    ids, mask = expanded(tensors, [{"concat": 5 * 16, "concat_noglobal": 4 * 16}.get(case, 16)] * 2)
    close(model(ids, views, mask, sizes=sizes)[mask], tensors[f"{case}.logits"][mask])


@torch.no_grad()
def test_what_enters_the_layers(build, reference):
    tensors, views, sizes = reference
    model = build()
    pictures = model.merged(views, sizes)
    close(torch.stack([picture.tokens for picture in pictures]), tensors["global_tokens"])
    for number in range(4):
        close(torch.stack([picture.stacks[number] for picture in pictures]), tensors["stacks"][number])
    ids, mask = expanded(tensors, [16] * 2)
    states, _ = entering(model, ids, views, mask, sizes=sizes)
    for number in range(6):
        close(states[number][mask], tensors[f"default.layer_input.{number}"][mask])


def test_loss_and_gradients(build, reference):
    tensors, views, sizes = reference
    model = build()
    ids, mask = expanded(tensors, [16] * 2)
    labels, _ = expanded(
        {**tensors, "input_ids": tensors["labels"].where(tensors["input_ids"] >= 0, IMAGE_TOKEN_ID)}, [16] * 2
    )
    labels = labels.where((ids >= 0) & mask, IGNORE_INDEX)
    loss = model.loss(Batch(ids, labels, mask, tuple(views), ("", ""), tuple(sizes)))
    mean = loss.total / loss.tokens
    close(mean, tensors["loss"])
    mean.backward()
    for ours, name in {
        "connector.layers.0.weight": "mm_projector.0.weight",
        "connector.layers.2.bias": "mm_projector.2.bias",
        "language_model.model.layers.2.self_attn.q_proj.weight": "layers.2.self_attn.q_proj.weight",
        "encoder.patches.weight": "vision_tower.vision_tower.vision_model.embeddings.patch_embedding.weight",
    }.items():
        close(model.get_parameter(ours).grad, tensors[f"grad.model.{name}"])


@torch.no_grad()
def test_a_text_row_in_the_batch(build, reference):
    """After the picture's row as in the reference, and before it, where the reference is wrong."""
    tensors, views, sizes = reference
    model = build()
    ids, mask = expanded(tensors, [16, 16], "mixed.")
    logits = model(ids, views[:5], mask, sizes=sizes[:1])
    close(logits[mask], tensors["mixed.logits"][mask])
    turned = model(ids.flip(0), views[:5], mask.flip(0), sizes=sizes[:1])
    close(turned.flip(0)[mask], logits[mask])


@torch.no_grad()
def test_greedy_generation(build, reference):
    tensors, views, sizes = reference
    model = build()
    ids, mask = expanded(tensors, [16, 16])
    prompt = ids[:1, mask[0]]
    embedded = model.embed(prompt, views[:5], sizes[:1])
    with injected(model.language_model, embedded.stacks, 1):
        output = model.language_model.generate(
            inputs_embeds=embedded.embeddings,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )
    assert torch.equal(output.sequences, tensors["generate.tokens"])
    close(torch.stack(output.scores, dim=1), tensors["generate.scores"])


@torch.no_grad()
def test_hd(build, golden):
    meta, tensors = golden("deepstack/deepstack_hd").meta, golden("deepstack/deepstack_hd").tensors
    model = build(DeepStackHdMerge, DeepStackHdPlan(16))
    sizes = [SIZES[tuple(grid)] for grid in meta["grids_wh"]]
    views = [view for row in range(2) for view in tensors[f"views.{row}"]]
    pictures = model.merged(views, sizes)
    for number, picture in enumerate(pictures):
        close(picture.tokens, tensors[f"tokens.{number}"])
        for stack, values in enumerate(picture.stacks):
            close(values, tensors[f"stacks.{number}.{stack}"])
        assert [len(picture.tokens)] == model.processor.count(sizes[number])
    ids, mask = expanded(tensors, meta["visual_tokens"])
    close(model(ids, views, mask, sizes=sizes)[mask], tensors["logits"][mask])


def own(kind=llama, plan=None, **options):
    """A model with weights large enough to reveal a misplaced stack."""
    model = VisionLanguageModel(
        VisionTransformer(24, 2, 2, 32, 8, 16),
        MlpProjector,
        kind(260, width=32, depth=6, heads=4, mlp_width=48, context=400),
        byte_tokenizer(),
        plan or DeepStackPlan(16),
        merge=lambda width: DeepStackMerge(width, **options),
        system="",
        max_length=400,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def prompts(model):
    """Text alone, two pictures in a row, text before the picture."""
    asked = [
        ([], "Hello, who is there?"),
        ([picture(40, 30, 1), picture(9, 40, 2)], "<image> and <image>: which?"),
        ([picture(60, 15, 3)], "<image>\nWhat?"),
    ]
    return [model.processor.encode_prompt(pictures, [Turn("user", text)]) for pictures, text in asked]


def logits_of(model, batch):
    return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


@torch.no_grad()
@pytest.mark.parametrize("kind", [llama, qwen3, opt])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_row_is_as_if_alone(kind, side):
    model = own(kind)
    each = prompts(model)
    together = model.processor.collate(each, side=side)
    logits = logits_of(model, together)
    plain = own(kind, start_layer=0)
    plain.load_state_dict(model.state_dict())
    for row, sample in enumerate(each):
        alone = logits_of(model, model.processor.collate([sample]))
        torch.testing.assert_close(logits[row][together.attention_mask[row]], alone[0], atol=1e-4, rtol=1e-5)
        if sample.views:
            elsewhere = logits_of(plain, plain.processor.collate([sample]))
            assert (alone - elsewhere).abs().max() > 0.01  # the layer matters, so the stacks are there


@torch.no_grad()
def test_two_pictures_of_a_row_have_their_own_stacks():
    model = own(start_layer=1)
    (sample,) = [each for each in prompts(model) if len(each.sizes) == 2]
    batch = model.processor.collate([sample])
    stacks = model.embed(batch.input_ids, batch.views, batch.sizes).stacks
    first, second = model.merged(batch.views, batch.sizes)
    placeholders = (batch.input_ids[0] == IMAGE_TOKEN_ID).nonzero().squeeze(1)
    assert [stack.layer for stack in stacks] == [1, 2, 3, 4]
    assert len(first.stacks) == 4
    assert len(second.stacks) == 3  # a slim picture is cut into three
    assert torch.equal(stacks[0].columns, placeholders)
    assert torch.equal(stacks[3].columns, placeholders[: len(first.tokens)])
    assert torch.equal(stacks[0].values, torch.cat((first.stacks[0], second.stacks[0])))


@torch.no_grad()
def test_prefill_in_chunks():
    model = own()
    batch = model.processor.collate(prompts(model)[1:2])
    embedded = model.embed(batch.input_ids, batch.views, batch.sizes)
    whole = logits_of(model, batch)
    pieces, cache = [], None
    with injected(model.language_model, embedded.stacks, 1):
        for chunk in embedded.embeddings.split(7, dim=1):
            output = model.language_model(inputs_embeds=chunk, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            pieces.append(output.logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", [llama, opt])
def test_greedy_answers_with_a_cache_follow_the_logits(kind):
    model = own(kind)
    batch = model.processor.collate(prompts(model), side="left")
    prompt = model.embed(batch.input_ids, batch.views, batch.sizes)
    with injected(model.language_model, prompt.stacks, len(batch.input_ids)):
        made = model.language_model.generate(
            inputs_embeds=prompt.embeddings,
            attention_mask=batch.attention_mask.long(),
            max_new_tokens=4,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    ids = batch.input_ids
    for step in range(4):
        mask = nn.functional.pad(batch.attention_mask, (0, step), value=True)
        following = model(ids, batch.views, mask, sizes=batch.sizes)[:, -1].argmax(-1)
        assert torch.equal(following, made[:, step])
        ids = torch.cat((ids, following[:, None]), dim=1)


@torch.no_grad()
def test_every_beam_has_the_stacks():
    """With as many beams as tokens, the best beam is the best of all answers of two tokens."""
    model = own()
    batch = model.processor.collate(prompts(model), side="left")
    prompt = model.embed(batch.input_ids, batch.views, batch.sizes)
    beams = 260
    with injected(model.language_model, prompt.stacks, len(batch.input_ids)):
        made = model.language_model.generate(
            inputs_embeds=prompt.embeddings,
            attention_mask=batch.attention_mask.long(),
            max_new_tokens=2,
            num_beams=beams,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            length_penalty=0.0,
        )
    first = logits_of(model, batch)[:, -1].log_softmax(-1)
    for row in range(len(made)):
        mask = nn.functional.pad(batch.attention_mask[row : row + 1], (0, 1), value=True)
        mine = model.processor.collate([prompts(model)[row]])
        totals = []
        for token in first[row].topk(12).indices:
            ids = torch.cat((batch.input_ids[row : row + 1], token.view(1, 1)), dim=1)
            second = model(ids, mine.views, mask, sizes=mine.sizes)[0, -1].log_softmax(-1)
            totals.append((float(first[row, token] + second.max()), int(token), int(second.argmax())))
        assert tuple(made[row].tolist()) == max(totals)[1:]


@pytest.mark.parametrize("kind", [llama, qwen3, opt])
def test_gradients_with_checkpointed_layers(kind):
    model = own(kind)
    for module in model.language_model.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    batch = model.processor.collate(prompts(model))
    runs = []
    model.language_model.get_decoder().layers[2].self_attn.register_forward_hook(lambda *_: runs.append(1))

    def gradients():
        model.zero_grad()
        logits_of(model, batch).square().mean().backward()
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    plain = gradients()
    model.train()
    for reentrant in (False, True):
        model.language_model.activation_checkpointing_enable({"use_reentrant": reentrant})
        runs.clear()
        for name, gradient in gradients().items():
            torch.testing.assert_close(gradient, plain[name], atol=1e-5, rtol=1e-4)
        assert len(runs) == 2  # the layer was computed again


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"adds stacks before layers \(3, 4, 5, 6\), the language model has 6"):
        own(start_layer=3)
    with pytest.raises(ValueError, match="the plan cuts 6 tiles, the merge takes 4 stacks"):
        own(plan=DeepStackPlan(16, 6))
    with pytest.raises(ValueError, match=r"672x672: DeepStackMerge makes one run of all views, UhdPlan puts texts"):
        own(plan=UhdPlan(16, 8, 4))
    with pytest.raises(ValueError, match="joins an overview and tiles that form a plane"):
        own(plan=UhdPlan(16, 8, 4, separators=False, overview="first"))
    with pytest.raises(ValueError, match="interval 0"):
        DeepStackMerge(8, interval=0)
    with pytest.raises(ValueError, match="nothing is stacked"):
        DeepStackMerge(8, sampling="none")
    with pytest.raises(ValueError, match="do not form a square"):
        DeepStackHdMerge(8, stacks=5)
    model = own()
    sample = prompts(model)[2]
    with pytest.raises(ValueError, match="pass the sizes of the pictures"):
        model(sample.input_ids[None], sample.views)
