"""Options of commands without a configuration, parsed before models are imported so that errors appear at once."""

import argparse

from recipes.command_line.console import stop
from recipes.command_line.imports import package
from recipes.command_line.local_paths import local_path
from recipes.command_line.option_parser import OptionParser
from recipes.command_line.sources import literal


def predict_options() -> argparse.Namespace:
    """Parse the options of `predict`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(prog="python -m recipes.predict", description="Ask a saved model about pictures.")
    # The checkpoint used to be a positional argument.
    parser.add_argument("folder", type=local_path, nargs="?", help=argparse.SUPPRESS)
    _add_checkpoint(parser)
    parser.add_argument(
        "--image", type=local_path, nargs="+", default=[], help="one or more pictures, also a.pdf#page=3"
    )
    parser.add_argument("--question", help="the question; <image> in it places the pictures")
    parser.add_argument("--data", type=local_path, help='JSONL, per line {"id": ..., "image": ..., "question": ...}')
    parser.add_argument(
        "--images", type=local_path, help="folder of the JSONL's pictures (default: the JSONL's own folder)"
    )
    parser.add_argument(
        "--output",
        type=local_path,
        help="JSONL file for the answers, which a second start completes (default: the screen)",
    )
    parser.add_argument(
        "--on_bad_sample",
        choices=literal("recipes.data.bad_samples", "Policy"),
        default="raise",
        help="skip: leave out questions of --data that cannot be answered, name them, and exit with 1 (default: raise)",
    )
    add_options(parser)
    options = parser.parse_args()
    if (options.folder is None) == (options.checkpoint is None):
        stop("give the model as --checkpoint FOLDER" + (", once" if options.folder is not None else ""))
    options.checkpoint = options.checkpoint or options.folder
    if (options.question is None) == (options.data is None):
        stop("give either --question (with --image), or --data")
    if options.data is None and (options.output is not None or options.images is not None):
        stop("--output and --images belong to --data")
    if options.data is not None and options.image:
        stop("--image belongs to --question; the file given with --data names its own pictures")
    return options


def chat_options() -> argparse.Namespace:
    """Parse the options of `chat`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(prog="python -m recipes.chat", description="Chat with a saved model.")
    parser.add_argument("images", type=local_path, nargs="*", metavar="image", help="pictures of the first question")
    _add_checkpoint(parser)
    add_options(parser)
    options = parser.parse_intermixed_args()
    if options.checkpoint is None:
        stop("give the model as --checkpoint FOLDER")
    if options.max_new_tokens < 1:
        stop(f"--max_new_tokens is {options.max_new_tokens}: it must be at least 1")
    return options


def merge_shards_options() -> argparse.Namespace:
    """Parse the options of `merge_shards`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.merge_shards",
        description="Write the model of a training state as a checkpoint; with LoRA as adapters and their base.",
    )
    parser.add_argument("state", type=local_path, help="training state, or a run, whose newest state is used")
    parser.add_argument(
        "output", type=local_path, nargs="?", help="folder (default: checkpoint-step-NNNNNNNN in the run's folder)"
    )
    _add_allow_import(parser, "the run's configuration may import, besides Foveal, Lightning and torch")
    return parser.parse_args()


def convert_options() -> argparse.Namespace:
    """Parse the options of `convert`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.convert",
        description="Write pickled weights as safetensors, under the same names. Other files of a folder are copied. "
        "Only tensors are unpickled: nothing in a file can run. Adapters of peft or of LLaVA's code become adapters "
        "as recipes.fit saves them.",
    )
    parser.add_argument(
        "source", metavar="FROM", type=local_path, help="pickled file, or folder with pickled weights or adapters"
    )
    parser.add_argument("target", metavar="TO", type=local_path, help="NAME.safetensors, or new folder")
    parser.add_argument("--base", type=local_path, help="the model that adapters were trained on: folder or hub name")
    parser.add_argument("--encoder", help="the base's image tower, for a base without one")
    _add_allow_import(parser, "the base may import classes from")
    return parser.parse_args()


def shard_options() -> argparse.Namespace:
    """Parse the options of `shard`.

    Raises:
        SystemExit: with 2 for wrong usage, or if the folder to be written exists.
    """
    parser = OptionParser(
        prog="python -m recipes.shard",
        description="Write conversations and their pictures, as they are encoded, into a few large files.",
    )
    parser.add_argument(
        "--data.path", dest="path", type=local_path, required=True, help="any file or folder of conversations"
    )
    parser.add_argument(
        "--data.images", dest="images", type=local_path, help="folder of the pictures (default: the file's own)"
    )
    parser.add_argument("--out", type=local_path, required=True, metavar="FOLDER", help="new folder")
    options = parser.parse_args()
    if options.out.exists():
        stop(f"{options.out} exists", "choose a folder that does not")
    return options


def export_options() -> argparse.Namespace:
    """Parse the options of `export`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.export",
        description="Write a LLaVA or LLaVA-NeXT in transformers' layout, read it back, and compare; "
        "other models in parts: language model and tokenizer in transformers' layout, and the image tower if it is "
        "CLIP.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder saved by recipes.fit, or a published model")
    parser.add_argument("output", metavar="OUT", help="new folder")
    add_reading_options(parser)
    return parser.parse_args()


def merge_options() -> argparse.Namespace:
    """Parse the options of `merge`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.merge",
        description="Add adapters to their base, and check that the model stays the same.",
    )
    parser.add_argument("adapter", type=local_path, metavar="ADAPTER", help="folder saved by recipes.fit with LoRA")
    parser.add_argument("output", type=local_path, metavar="OUT", help="new folder: a checkpoint")
    parser.add_argument("--base", type=local_path, help="the base, not quantised (default: where it was in training)")
    parser.add_argument("--dequantize", action="store_true", help="first convert a quantised base to 16 or 32 bits")
    parser.add_argument("--encoder", help="the base's image tower, for a published base without one")
    _add_allow_import(parser)
    return parser.parse_args()


def quantize_options() -> argparse.Namespace:
    """Parse the options of `quantize`.

    Raises:
        SystemExit: with 2 for wrong usage, or if the folder to be written exists.
    """
    parser = OptionParser(
        prog="python -m recipes.quantize",
        description="Quantise the decoder of a checkpoint; everything else stays.",
    )
    parser.add_argument(
        "input", type=local_path, metavar="IN", help="folder saved by recipes.fit, or a published checkpoint"
    )
    parser.add_argument("output", type=local_path, metavar="OUT", help="new folder")
    kinds = literal("foveal.models.language_models.quantize", "Kind")
    parser.add_argument("--kind", choices=kinds, default="nf4-dq", help="of quantisation (default: nf4-dq)")
    add_reading_options(parser)
    options = parser.parse_args()
    if options.output.exists():
        stop(f"{options.output} exists", "choose a folder that does not")
    return options


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        type=local_path,
        metavar="FOLDER",
        help="folder saved by recipes.fit, or a published model's hub name",
    )


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for opening checkpoints that do not describe everything, shared by all commands."""
    templates = literal("foveal.models.prompts.template_texts", "TemplateName")
    parser.add_argument("--template", choices=templates, help="prompt template (default: the checkpoint's)")
    parser.add_argument("--encoder", help="folder or hub name of the image tower, if the checkpoint has none")
    _add_allow_import(parser)


def _add_allow_import(parser: argparse.ArgumentParser, what: str = "the checkpoint may import classes from") -> None:
    parser.add_argument(
        "--allow_import",
        metavar="PACKAGE",
        type=package,
        action="append",
        default=[],
        help=f"package that {what}; repeat for several",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for answering, shared by all commands that answer."""
    add_reading_options(parser)
    parser.add_argument("--base", type=local_path, help="the base of adapters (default: where it was in training)")
    plans = literal("foveal.models.views.named", "PlanName")
    parser.add_argument("--plan", choices=plans, help="variant of the checkpoint's view plan (default: its own)")
    parser.add_argument("--max_new_tokens", type=int, default=128, help="longest answer, in tokens (default: 128)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest answer; above 0: sampling")
    parser.add_argument(
        "--quantize",
        choices=literal("foveal.models.language_models.quantize", "Kind"),
        help="load the decoder in 4 or 8 bits (default: as it was saved)",
    )
    parser.add_argument(
        "--cuda_graphs",
        action="store_true",
        help="launch all kernels of a decoding step at once, where possible",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: the GPU if there is one)")
