"""An eye test: `python -m recipes.acuity runs/uhd/version_0 --output chart/`."""

from recipes.command_line.acuity_options import acuity_options


def main() -> None:
    """The command line of `acuity`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.acuity.main`.
    """
    options = acuity_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import acuity

    acuity.main(options)


if __name__ == "__main__":
    main()
