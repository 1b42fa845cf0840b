"""Measure on a benchmark: `python -m recipes.evaluate --checkpoint CHECKPOINT --benchmark docvqa --data FOLDER`."""

from recipes.command_line.evaluate_options import evaluate_options


def main() -> None:
    """The command line of `evaluate`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.evaluate.main`.
    """
    options = evaluate_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import evaluate

    evaluate.main(options)


if __name__ == "__main__":
    main()
