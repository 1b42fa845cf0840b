"""Answer: `python -m recipes.predict --checkpoint CHECKPOINT --image page.png --question "What is the total?"`."""

from recipes.command_line.options import predict_options


def main() -> None:
    """The command line of `predict`.

    Raises:
        SystemExit: with 2 for wrong usage, else as `recipes.commands.predict.main`.
    """
    options = predict_options()
    # Imported here, so that wrong usage is reported without importing the models.
    from recipes.commands import predict

    predict.main(options)


if __name__ == "__main__":
    main()
