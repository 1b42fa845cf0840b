"""Explain an answer: `python -m recipes.explain CHECKPOINT --image page.png --question "What is the total?"`."""

from recipes.command_line.explain_options import explain_options


def main() -> None:
    """The command line of `explain`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.explain.main`.
    """
    options = explain_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import explain

    explain.main(options)


if __name__ == "__main__":
    main()
