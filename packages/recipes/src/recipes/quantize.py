"""Quantise a checkpoint to 4 or 8 bits: `python -m recipes.quantize runs/uhd/version_0/checkpoint OUT`."""

from recipes.command_line.options import quantize_options


def main() -> None:
    """The command line of `quantize`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.quantize.main`.
    """
    options = quantize_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import quantize

    quantize.main(options)


if __name__ == "__main__":
    main()
