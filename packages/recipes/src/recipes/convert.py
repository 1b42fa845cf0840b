"""Pickled weights as safetensors: `python -m recipes.convert pytorch_model.bin model.safetensors`."""

from recipes.command_line.options import convert_options


def main() -> None:
    """The command line of `convert`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.convert.main`.
    """
    options = convert_options()
    # Not at the top: what was mistyped is said without importing the models.
    from recipes.commands import convert

    convert.main(options)


if __name__ == "__main__":
    main()
