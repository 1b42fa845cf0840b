"""Export a model for other tools: `python -m tools.export CHECKPOINT OUT`.

A LLaVA or LLaVA-NeXT is written in transformers' layout, read again by transformers, and compared; other models are
written in parts: language model and tokenizer in transformers' layout, the image tower too if it is a CLIP.
"""

import argparse

from foveal.models import load
from foveal.models.checkpoints.export import export_opened
from recipes.command_line.console import calm, short_errors
from recipes.command_line.options import add_reading_options


def main() -> None:
    """Write the folder and say what it is."""
    parser = argparse.ArgumentParser(prog="python -m tools.export", description=__doc__)
    parser.add_argument("checkpoint", help="folder that recipes.fit or others have saved")
    parser.add_argument("out", help="folder to be written, not there yet")
    add_reading_options(parser)
    options = parser.parse_args()
    calm()
    with short_errors():
        exported = export_opened(
            lambda: load(options.checkpoint, template=options.template, encoder=options.encoder), options.out
        )
    if exported.kind is None:
        print(f"transformers has no class for this model: {exported.reason}. {options.out} holds its parts apart.")
    else:
        print(
            f"{options.out} holds a {exported.kind}; read again by transformers, its logits for a prompt with a "
            f"picture differ by at most {exported.difference:.1e}"
        )


if __name__ == "__main__":
    main()
