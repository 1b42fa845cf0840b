"""Export a model for other tools: `python -m recipes.export runs/uhd/version_0/checkpoint OUT`."""

from recipes.command_line.options import export_options


def main() -> None:
    """The command line of `export`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.export.main`.
    """
    options = export_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import export

    export.main(options)


if __name__ == "__main__":
    main()
