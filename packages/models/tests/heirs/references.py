"""Tiny models of transformers that ours are compared with, and the pictures that they are shown."""

import json

import numpy as np
import torch
from PIL import Image
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def byte_level(text="", vocabulary=256, **special):
    """A byte-level tokenizer with tokens for what is frequent in a text, and with special ones."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([text] * 9, vocabulary, show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, **special)


def stating(folder, file="config.json", **changed):
    """The folder, in one of whose files settings are changed."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return folder


@torch.no_grad()
def shaken(model, std=0.15, vectors=None):
    """The model with random weights, none of which is zero or one.

    Args:
        std: standard deviation of matrices.
        vectors: that of biases and norms; None: the same.
    """
    for weight in model.parameters():
        weight.normal_(std=std if vectors is None or weight.ndim > 1 else vectors)
    return model.eval()
