"""Convert pickled weights to safetensors: `python -m recipes.convert pytorch_model.bin model.safetensors`."""

from recipes.command_line.options import convert_options


def main() -> None:
    """The command line of `convert`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.convert.main`.
    """
    options = convert_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import convert

    convert.main(options)


if __name__ == "__main__":
    main()
