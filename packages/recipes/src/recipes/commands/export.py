"""Export a model for other tools.

A LLaVA, LLaVA-NeXT, LLaVA-OneVision or InternVL is written in transformers' layout, read back by transformers, and
compared. Other models are written in parts: language model and tokenizer in transformers' layout, and the image tower
if it is a CLIP or SigLIP.
"""

import argparse

from foveal.models import load
from foveal.models.checkpoints.export import export_opened
from recipes.command_line.console import calm, short_errors


def main(options: argparse.Namespace) -> None:
    """Write the folder and print what it holds.

    Args:
        options: as `export_options` returns them.

    Raises:
        SystemExit: with 1 for a model that cannot be exported.
    """
    calm()
    with short_errors():
        exported = export_opened(
            lambda: load(
                options.checkpoint,
                template=options.template,
                encoder=options.encoder,
                allow=options.allow_import,
            ),
            options.output,
        )
    if exported.kind is None:
        print(f"not written for a class of transformers: {exported.reason}. {options.output} holds its parts.")
    else:
        print(
            f"{options.output} holds a {exported.kind}; read back by transformers, its logits for a prompt with a "
            f"picture differ by at most {exported.difference:.1e}"
        )
