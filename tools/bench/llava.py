"""Compare LLaVA-1.5 with transformers' LlavaForConditionalGeneration: `python -m tools.bench.llava`.

Same shapes, same weights, float32: a training step, prefill, and the encoder alone. `--tiny` uses small models.
"""

import argparse

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch, PadToSquare, VisionLanguageModel, byte_tokenizer, llama
from foveal.models.published import load_llava
from tools.bench.timing import fastest, machine, row

WIDTH, DEPTH, HEADS, MLP, PATCH, SIDE = 256, 8, 8, 1024, 14, 224
CONTEXT = 1024
VOCABULARY, IMAGE_ID = 8000, 7999
PICTURES, TEXT, ANSWER = 4, 64, 16


def models(width: int, depth: int) -> tuple[VisionLanguageModel, LlavaForConditionalGeneration]:
    """Our model and transformers', of the same size, with the same weights."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=MLP,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=MLP,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        rms_norm_eps=1e-5,
        max_position_embeddings=CONTEXT,
    )
    theirs = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_ID)
    )
    ours = VisionLanguageModel(
        VisionTransformer(width, depth, HEADS, MLP, PATCH, SIDE),
        MlpProjector,
        llama(VOCABULARY, width=width, depth=depth, heads=HEADS, mlp_width=MLP, context=CONTEXT),
        byte_tokenizer(),
        PadToSquare(SIDE),
        max_length=CONTEXT,
    )
    load_llava(ours, dict(theirs.state_dict()), source="transformers")
    return ours, theirs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small models, to check that everything runs")
    tiny = parser.parse_args().tiny
    width, depth, rounds = (64, 2, 1) if tiny else (WIDTH, DEPTH, 7)
    ours, theirs = models(width, depth)
    patches = (SIDE // PATCH) ** 2
    text = torch.randint(5, VOCABULARY - 1, (PICTURES, TEXT))
    ids = torch.cat([text[:, :8], torch.full((PICTURES, patches), IMAGE_TOKEN_ID), text[:, 8:]], dim=1)
    their_ids = ids.masked_fill(ids == IMAGE_TOKEN_ID, IMAGE_ID)
    labels = ids.clone()
    labels[:, :-ANSWER] = IGNORE_INDEX
    pixels = torch.randn(PICTURES, 3, SIDE, SIDE)
    mask = torch.ones_like(ids, dtype=torch.bool)
    batch = Batch(ids, labels, mask, tuple(pixels), ("",) * PICTURES)

    def our_step() -> None:
        ours.zero_grad()
        loss = ours.loss(batch)
        (loss.total / loss.tokens).backward()

    def their_step() -> None:
        theirs.zero_grad()
        theirs(input_ids=their_ids, pixel_values=pixels, attention_mask=mask.long(), labels=labels).loss.backward()

    @torch.inference_mode()
    def our_prefill() -> None:
        last = torch.tensor([ids.shape[1] - 1])
        ours(ids, batch.views, mask, last)

    @torch.inference_mode()
    def their_prefill() -> None:
        theirs(input_ids=their_ids, pixel_values=pixels, attention_mask=mask.long(), logits_to_keep=1)

    @torch.inference_mode()
    def our_encoder() -> None:
        ours.encoder(pixels)

    @torch.inference_mode()
    def their_encoder() -> None:
        theirs.model.vision_tower(pixels, output_hidden_states=True)

    print(machine())
    print(
        f"\n{PICTURES} samples of {patches} visual and {TEXT} text tokens, width {width}, {depth} layers each, "
        "float32\n"
    )
    print("| | Foveal | transformers | times faster | |\n|---|---|---|---|---|")
    for name, mine, other, what in (
        ("training step", our_step, their_step, f"{ANSWER} supervised tokens a sample"),
        ("prefill", our_prefill, their_prefill, "logits of the last token"),
        ("encoder alone", our_encoder, their_encoder, f"{depth - 1} of {depth} layers are needed"),
    ):
        seconds = fastest({"ours": mine, "theirs": other}, rounds=rounds)
        print(row(name, seconds["ours"], seconds["theirs"], what))


if __name__ == "__main__":
    main()
