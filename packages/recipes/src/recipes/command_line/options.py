"""Options of commands without a configuration, parsed before models are imported so that errors appear at once."""

import argparse
from pathlib import Path

from recipes.command_line.checkpoints import packaged_reader
from recipes.command_line.console import stop
from recipes.command_line.local_paths import local_path
from recipes.command_line.model_options import (
    add_allow_import,
    add_answering_options,
    add_checkpoint,
    add_output,
    add_question,
    add_reading_options,
    read_checkpoint_or_reader,
    read_output,
)
from recipes.command_line.option_parser import OptionParser
from recipes.command_line.sources import literal


def predict_options() -> argparse.Namespace:
    """Parse the options of `predict`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.predict",
        usage="%(prog)s CHECKPOINT (--image FILE ... --question TEXT | --data FILE) [options]",
        description="Ask a saved model about pictures.",
    )
    add_checkpoint(parser)
    add_question(parser)
    parser.add_argument(
        "--data",
        metavar="FILE",
        type=local_path,
        help='JSON, JSONL, Parquet ...: {"id": ..., "image": ..., "question": ...}, or conversations',
    )
    parser.add_argument("--images", metavar="FOLDER", type=local_path, help="its pictures (default: its own folder)")
    parser.add_argument("--batch_size", type=int, default=8, help="questions answered together (default: 8)")
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
    add_answering_options(parser)
    options = parser.parse_intermixed_args()
    if (options.question is None) == (options.data is None):
        stop("give either --question (with --image), or --data")
    if options.batch_size < 1 or options.max_new_tokens < 1:
        stop("--batch_size and --max_new_tokens must be at least 1")
    if options.data is None and (options.output is not None or options.images is not None):
        stop("--output and --images belong to --data")
    if options.data is not None and options.image:
        stop("--image belongs to --question; the file given with --data names its own pictures")
    # A model that was named may know something without a picture; the reader only reads.
    pictured, named = options.image or options.data, options.folder or options.checkpoint
    if not pictured and not named and packaged_reader() is not None:
        stop(
            "neither a picture nor a model is given, and foveal-reader, used then, reads pictures",
            "give --image FILE, or a model with --checkpoint",
        )
    read_checkpoint_or_reader(options)
    return options


def chat_options() -> argparse.Namespace:
    """Parse the options of `chat`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.chat",
        usage="%(prog)s [CHECKPOINT] [image ...] [options]",
        description="Chat with a saved model.",
    )
    add_checkpoint(parser)
    parser.add_argument("images", type=local_path, nargs="*", metavar="image", help="pictures of the first question")
    add_answering_options(parser)
    options = parser.parse_intermixed_args()
    if options.folder is not None and (
        _is_picture(options.folder) or (options.checkpoint and not options.folder.is_dir())
    ):
        # A picture, and the model is an option.
        options.images.insert(0, options.folder)
        options.folder = None
    read_checkpoint_or_reader(options)
    if options.max_new_tokens < 1:
        stop(f"--max_new_tokens is {options.max_new_tokens}: it must be at least 1")
    return options


def _is_picture(given: Path) -> bool:
    """Whether it is a file, or a page of one such as `a.pdf#page=3`, and not a checkpoint."""
    file, _, page = str(given).rpartition("#page=")
    return given.is_file() or (page.isdecimal() and Path(file).is_file())


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
    add_allow_import(parser, "the run's configuration may import, besides Foveal, Lightning and torch")
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
    add_allow_import(parser, "the base may import classes from")
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
        usage="%(prog)s CHECKPOINT OUT [options]",
        description="Write a LLaVA or InternVL in transformers' layout, read it back, and compare; "
        "other models in parts: language model and tokenizer in transformers' layout, and the image tower if it is a "
        "CLIP or SigLIP.",
    )
    add_checkpoint(parser)
    add_output(parser, "new folder")
    add_reading_options(parser)
    options = parser.parse_intermixed_args()
    read_output(options)
    return options


def merge_options() -> argparse.Namespace:
    """Parse the options of `merge`.

    Raises:
        SystemExit: with 2 for wrong usage.
    """
    parser = OptionParser(
        prog="python -m recipes.merge",
        usage="%(prog)s CHECKPOINT OUT [options]",
        description="Add adapters, of a folder saved by recipes.fit with LoRA, to their base, and check that the model "
        "stays the same.",
    )
    add_checkpoint(parser)
    add_output(parser, "new folder: a checkpoint")
    parser.add_argument("--base", type=local_path, help="the base, not quantised (default: where it was in training)")
    parser.add_argument("--dequantize", action="store_true", help="first convert a quantised base to 16 or 32 bits")
    parser.add_argument("--encoder", help="the base's image tower, for a published base without one")
    add_allow_import(parser)
    options = parser.parse_intermixed_args()
    read_output(options)
    return options


def quantize_options() -> argparse.Namespace:
    """Parse the options of `quantize`.

    Raises:
        SystemExit: with 2 for wrong usage, or if the folder to be written exists.
    """
    parser = OptionParser(
        prog="python -m recipes.quantize",
        usage="%(prog)s CHECKPOINT OUT [options]",
        description="Quantise the decoder of a checkpoint; everything else stays.",
    )
    add_checkpoint(parser)
    add_output(parser, "new folder")
    kinds = literal("foveal.models.language_models.quantize", "Kind")
    parser.add_argument("--kind", choices=kinds, default="nf4-dq", help="of quantisation (default: nf4-dq)")
    add_reading_options(parser)
    options = parser.parse_intermixed_args()
    read_output(options)
    if options.output.exists():
        stop(f"{options.output} exists", "choose a folder that does not")
    return options
