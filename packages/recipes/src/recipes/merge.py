"""Merge adapters into their base: `python -m recipes.merge runs/uhd/version_0/adapter MERGED`."""

from recipes.command_line.options import merge_options


def main() -> None:
    """The command line of `merge`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.merge.main`.
    """
    options = merge_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import merge

    merge.main(options)


if __name__ == "__main__":
    main()
