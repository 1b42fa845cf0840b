"""Compare runs on one page: `python -m recipes.compare runs/uhd/version_0 runs/llava/version_0 --output compared`."""

from recipes.command_line.compare_options import compare_options


def main() -> None:
    """The command line of `compare`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.compare.main`.
    """
    options = compare_options()
    # Imported here, so that wrong usage is reported at once.
    from recipes.commands import compare

    compare.main(options)


if __name__ == "__main__":
    main()
